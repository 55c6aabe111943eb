"""What a client may do, by subject. The API, the command line and activities call these.

Each commits to the catalog first and calls Temporal after the transaction, never inside it.
"""
