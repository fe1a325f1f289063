"""Clients of a service: start runs, ask for them, emit events, from any process.

In: the address of a service, expressions, plain data. Out: results; the exceptions of the user's own tasks. Never:
opens a store; evaluates.
"""
