"""The verbs: each module holds one click command, called `command`.

In: parsed words. Out: an exit code, and text on stdout. Never: imports at module level more than click.
"""
