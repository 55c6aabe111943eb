"""The catalog: PostgreSQL, and the only SQL of our own in the program.

Every function takes the open transaction as its first argument; only `Database.begin` starts and commits one. A call
to any other server never happens inside it.

Rows are locked in one order, the project's, then the view's, then the run's, and always FOR NO KEY UPDATE (or FOR
SHARE): a plain FOR UPDATE would make every insert that refers to the row wait behind it, out of that order.
"""
