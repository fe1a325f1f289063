"""Carries out the evaluator's commands, in this process or on a Ray cluster.

In: commands. Out: messages. Never: decides what is computed; the evaluator does.

Only this room imports Ray, and in it only `on_ray` does.
"""
