"""The service: the process that keeps the runs of one store, and its API.

In: the flows' modules, a store, requests over HTTP. Out: runs brought to their ends; answers in JSON. Never: decides
(the keeper and the evaluator do).
"""
