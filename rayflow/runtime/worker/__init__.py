"""The worker's side of a call: it finds the task, runs its body, and packs the result.

In: one attempt. Out: its outcome. Never: decides what runs.
"""
