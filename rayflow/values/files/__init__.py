"""Files and directories as values: their present states, their changes, and whether recorded states are still valid.

In: paths and URLs. Out: File, Dir, FileSet and their states. Never: opens a file but through `filesystems`.
"""
