"""Recorded values: the arguments and results of calls, read on request.

In: a recorded job or call. Out: the user's own objects. Never: encodes.
"""
