"""Whether source files are whole, and stay the same while a query reads them."""
