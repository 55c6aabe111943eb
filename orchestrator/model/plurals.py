"""Numbers with their nouns, as text."""


def number_of(number: int, word: str) -> str:
    """A number with its noun, which has a plural in `s`: `1 row`, `1,234 rows`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
