"""The parameters of a task: signatures as plain data, type hints, and whether arguments fit them.

In: a function's parameters and annotations. Out: plain data. Never: reads texts (arguments does).
"""
