"""The records that may answer a call: reductions by task and arguments, and the states of handles.

In: the hashes of a call. Out: its recorded reductions. Never: decides whether one is still valid.
"""
