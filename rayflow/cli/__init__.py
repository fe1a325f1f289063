"""The command line.

In: words. Out: calls of the rooms below, and what they answer as text. Never: decides anything; holds state.

One file a verb: parse, call, render. Each imports what it needs when it is called, so that `rayflow --help` and a run
that is answered from the cache stay quick.
"""
