"""Texts to arguments by type hint: texts on a command line become arguments of a task.

In: texts and annotations. Out: values, or an error that says what was expected. Never: calls the task.
"""
