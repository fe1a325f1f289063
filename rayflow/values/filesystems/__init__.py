"""File systems: the disks of this machine, and every URL that fsspec can open.

In: a path or URL. Out: bytes, directory entries, streams; written files that are whole or absent. Never: knows values.
"""
