"""The catalog: all SQL that the program sends to PostgreSQL.

Every function takes the open transaction as its first argument; `Database.begin` starts and
commits one, and `Database.single` runs single statements in autocommit mode. No other server is called inside either.

Rows are locked in one order: the project's, then the view's, then the run's. The lock is always FOR NO KEY UPDATE or
FOR SHARE. A plain FOR UPDATE would make every insert that refers to the row wait behind it, out of that order.
"""
