"""Graph reduction: messages in, commands out.

The whole room is one pure, single-threaded, deterministic machine behind one door, `Evaluator.handle(messages)`. It has
no clock (times come with messages), does no I/O, starts no thread, draws no random number and runs no user code.

In: the messages of messages.py. Out: the commands of commands.py. Never: Ray, a store, a file, a user's module.

Where to begin: evaluator.py has a function for each message, graph.py the data, state.py the books that hold it. A call
goes through calls.py (its arguments are reduced), sharing.py (hashes, look-up, equal calls), attempts.py (it runs),
results.py (its value) and closing.py (its end). The worklist in reduction.py drives all that.
"""
