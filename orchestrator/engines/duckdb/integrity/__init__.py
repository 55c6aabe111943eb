"""Checks that source files are whole, and do not change while a query reads them."""
