"""This process's connection to Ray: join the cluster that is named, or start a local one quietly.

In: an address, settings of the environment. Out: a connection that is watched. Never: submits work.
"""
