"""The keeper: the pure core of durable runs.

In: requests, each with the time when it came. Out: commands, rows first. Never: reads a clock, does I/O, takes a chance
(ids come with requests), runs user code, knows the evaluator.

A run is the promise that one expression will be brought to its end. The keeper decides what happens to runs, their
waits, and events; the evaluator beside it reduces the expressions. The state of the keeper is a fold over its rows.
"""
