"""The command line.

In: words. Out: calls of the rooms below, and what they answer as text. Never: decides anything; holds state.

One file a verb: parse, call, render. A verb's module is loaded when the verb is named (main.py lists them all without
it), so it imports at its top what it needs. An import inside a function stays in two cases, both for quick answers:

- The module loads an engine (duckdb, pyarrow, numpy, rich, ray), which `rayflow VERB --help`, a wrong option or another
  path through the verb does not need.
- The module that imports is shared by verbs (stores.py, parsing, output), and not all of them need rayflow.lang or
  rayflow.store.
"""
