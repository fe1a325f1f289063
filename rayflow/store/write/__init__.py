"""How records are written: rows to columns, columns to segments, segments to commits, small commits to large ones.

In: rows. Out: commits, each of which is seen whole or not at all. Never: answers questions.
"""
