"""The catalog: PostgreSQL, and the only SQL of our own in the program.

Every function takes the open transaction as its first argument; only `Database.begin` starts and commits one. A call
to any other server never happens inside it.
"""
