"""Lets the client of Spark be imported in a worker of pytest-xdist.

Such a worker has a main module without a file. The client takes that for a run of its own doctests, looks for its test
suite, and ends the process. It does not where Python is interactive.
"""

import sys

if not hasattr(sys.modules["__main__"], "__file__") and not hasattr(sys, "ps1"):
    sys.ps1 = ""
