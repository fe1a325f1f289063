"""What an execution says of itself while it lives, and what others ask of it: small files that are written again and
again.

In: states and requests. Out: the same, for every process that reaches the store. Never: a record; nothing here is kept
when the execution has ended.
"""
