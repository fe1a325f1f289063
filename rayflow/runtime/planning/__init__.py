"""Dry runs: which calls would run, why, and how long they took last time.

In: an expression and the records. Out: a plan. Never: runs a body, or writes to the store.
"""
