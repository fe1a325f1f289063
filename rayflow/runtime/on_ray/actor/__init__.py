"""The scheduler as a Ray actor: it submits attempts, watches nodes, and tells drivers what happens.

In: requests. Out: reports. Never: reduces expressions itself (the evaluator does).
"""
