"""The operations of clients, by subject. The API, the command line and activities call them.

Each commits to the catalog first and calls Temporal after the transaction, never inside it.
"""
