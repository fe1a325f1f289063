"""The verbs: each module holds one click command, called `command`.

In: parsed words. Out: an exit code, and text on stdout. Never: loads an engine before the command is carried out.
"""
