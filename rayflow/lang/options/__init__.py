"""Task options: their table, the values that each takes, and how the levels are merged.

In: what a user wrote at a task, at a call, in the configuration. Out: checked options. Never: acts on them.
"""
