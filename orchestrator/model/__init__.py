"""The model: pure values, made with the standard library and pydantic, without input or output."""
