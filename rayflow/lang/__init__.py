"""What a user writes: tasks, lazy expressions, forms.

In: Python functions and calls. Out: frozen expressions, task entries, packed terms. Never: evaluates anything, knows a
job, a store or a cluster.
"""
