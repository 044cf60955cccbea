"""The command line: thin verbs over the Python API, one module for each group of them.

Exit codes: 0 fine, 1 FAIL, 2 bad input (one line), 3 PARTIAL, 130 interrupted (the checkpoint is whole).
"""

from pirf.cli.entry import app, main

__all__ = ["app", "main"]
