"""Looks for what would fail or slow down a run on a cluster, before one is started: `rayflow doctor`.

In: a configuration. Out: findings, each with what to do. Never: changes a cluster, ships a project.
"""
