"""The files of source tables: finding them, their contract, and how a query reads them."""
