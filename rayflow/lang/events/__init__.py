"""What events, moments and references to runs are, for processes with and without the user's code.

In: what a user writes. Out: plain data and terms. Never: makes a task or a form.
"""
