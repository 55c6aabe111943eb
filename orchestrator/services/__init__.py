"""The operations of clients, by subject. The API, the command line and activities call them.

No operation calls Temporal inside a transaction. Changes of a view commit first; starting or cancelling a run, and a
rollback that pauses, call Temporal first.
"""
