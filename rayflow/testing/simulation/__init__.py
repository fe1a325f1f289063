"""A simulated cluster and an oracle: random programs run in virtual time, and must do what the oracle says.

In: a seed. Out: a checked execution. Never: starts a process or reads a clock.
"""
