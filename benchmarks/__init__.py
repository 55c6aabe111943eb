"""Measurements of the product beside plain DuckDB, for anyone to repeat. They assert nothing."""
