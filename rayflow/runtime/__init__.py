"""What carries the evaluator's commands out: in this process, or on a Ray cluster.

In: commands. Out: events. Never: decides what is computed; that is the evaluator's.

The only room that imports Ray, and only where Ray is needed: `inline`, `loop`, `outbox` and `workers` do without.
"""
