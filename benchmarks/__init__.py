"""Measurements of the product beside plain DuckDB, which any user can repeat. They assert nothing."""
