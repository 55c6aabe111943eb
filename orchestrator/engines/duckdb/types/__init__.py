"""Types of the values in text files: detecting them, and the rules that a value must meet."""
