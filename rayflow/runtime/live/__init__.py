"""The live part of a shell: what its executions say of themselves in the store, and who asks for their end.

In: counts, from the loop's thread; the calls that run. Out: live files; requests to cancel. Never: touches the
evaluator, or keeps a loop waiting for a store.
"""
