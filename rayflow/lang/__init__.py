"""The language of a user: tasks, lazy expressions, forms.

In: Python functions and calls. Out: frozen expressions, task entries, packed terms. Never: evaluates anything; uses a
job, a store or a cluster.
"""
