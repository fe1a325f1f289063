"""The output of bodies and their child processes: it is collected, masked, and passed on.

In: text on stdout and stderr. Out: a job's log. Never: loses a line silently.
"""
