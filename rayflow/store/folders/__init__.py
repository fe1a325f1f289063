"""The folder that a store lives in: on this machine, in an object store, or with a layer of memory over it.

In: names and bytes. Out: bytes. Never: knows what they mean.
"""
