"""The console: the product's pages, rendered by the API process. All that they do goes through the API's routes."""
