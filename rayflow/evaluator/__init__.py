"""Graph reduction: events in, commands out.

The whole room is one pure, single-threaded, deterministic machine behind one door, `Evaluator.handle(events)`. It has
no clock (times come with events), does no I/O, starts no thread, draws no random number and runs no user code.

In: the events of events.py. Out: the commands of commands.py. Never: Ray, a store, a file, a user's module.
"""
