"""Folders that no source table may read, even below a folder that the operator allows for source tables.

The program puts a file named MARKER into every folder in which it keeps results, keys or passwords. The engine refuses
to read below such a folder. A list of paths alone is not enough: it misses the folder of a second installation, and
the copy of a store in a backup.
"""

MARKER = ".matview-private"
TEXT = "Matview keeps results or secrets here: no source table may read what lies in this folder or below it.\n"
