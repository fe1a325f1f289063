"""The driver's side of an execution: the process in which the user waits for a value.

In: an expression and the settings of its run. Out: the value, and reports on the way. Never: runs a body on Ray itself.
"""
