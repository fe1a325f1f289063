"""Plain data that travels between a driver, its scheduler and the workers, in one wire form.

In: nothing. Out: attempts, requests, reports. Never: acts on them.
"""
