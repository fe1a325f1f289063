"""What `@flow` says about when its runs may run: queues, mutexes, limits and rates, and the keys of their arguments.

In: settings and templates. Out: `AdmissionSettings`, checked. Never: decides whether a run may run (the keeper does).
"""
