"""Turns a user's expression into a term without the user's objects (pack), and such a term into objects (realize).

In: expressions with any values in them. Out: terms that hold references, and the bodies' arguments from these.
Never: runs a task.
"""
