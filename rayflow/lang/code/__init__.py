"""The code of a task: the definitions that it reaches inside the user's project, and one digest over them.

In: a live function or class. Out: its code identity. Never: runs user code; reads the libraries' code.
"""
