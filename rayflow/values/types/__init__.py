"""Handlers for classes of Python and of some libraries: one module for each library.

In: an object of such a class. Out: its parts or content, and the object rebuilt from these. Never: imports a library
before one of its objects is met.
"""
