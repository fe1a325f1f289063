"""The constants that code uses: their parts, and the statements that make them.

In: a module-level value, a captured value, a default. Out: its part of the code identity. Never: changes it.
"""
