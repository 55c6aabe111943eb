"""Folders that no source table may read, whatever folders the operator allows for source tables.

The program puts a file of this name into every folder in which it keeps results, keys or passwords. The engine refuses
to read below such a folder. A list of paths alone would not do: it misses the folder of a second installation, and the
copy of a store that lies in a backup.
"""

MARKER = ".matview-private"
TEXT = "Matview keeps results or secrets here: no source table may read what lies in this folder or below it.\n"
