"""What stands beside the evaluator in a tick: the keeper of a service, or the timers of a plain run.

In: the evaluator's commands about waits. Out: messages that resolve them, rows that must be durable first. Never:
decides (the keeper does).
"""
