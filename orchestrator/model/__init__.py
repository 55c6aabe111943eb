"""What the product is about, as plain values: standard library and pydantic, no input and no output."""
