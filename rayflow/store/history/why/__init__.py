"""Why a job ran: the nearest earlier evaluation, what differs from it, and the words for that.

In: a recorded job. Out: reasons. Never: runs anything.
"""
