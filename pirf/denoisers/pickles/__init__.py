r"""Pickles read without being run: a reader of their opcodes that can neither import nor call what they name.

A pickle is a program for a machine with a stack, whose opcodes import functions and call them.  Here the ones that build
plain containers are followed; a global is a name, never looked up; and a call is carried out only where its name stands in
the list of :mod:`~pirf.denoisers.pickles.calls`, by a function of this package.  What else is met is refused by its name.

It runs in a process of its own, with limits (:mod:`~pirf.denoisers.pickles.worker`), which knows the standard library and
these files alone: hence the relative imports.
"""
