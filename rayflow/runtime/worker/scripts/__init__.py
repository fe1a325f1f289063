"""Shell scripts on a worker: their directory, their processes, what they give.

In: a script and its inputs. Out: its output and files. Never: leaves a process or a directory behind.
"""
