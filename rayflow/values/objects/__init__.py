"""Objects of any class: the registry of handlers that take them apart, and pickling for classes without a handler.

In: an object. Out: its parts, or a pickle. Never: hashes (encoding does).
"""
