"""Calls tasks of other projects on other clusters, each in an execution of its own there.

`deployment_tasks` has what users write and the body that waits, `call_packages` brings a call and its values to the
other store, `far_executions` starts an execution through the job API and follows it in the other store.

In: a call. Out: its value. Never: imports Ray, evaluates anything.
"""
