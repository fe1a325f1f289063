"""What a user writes for durable runs: effects, waits, races, events, flows.

In: functions, terms, texts. Out: tasks, expressions, plain data. Never: says what a form does
(rayflow.evaluator.forms does), or keeps a run.
"""
