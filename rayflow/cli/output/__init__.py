"""Everything that people see: tables, trees, colours, JSON, progress, errors.

In: plain data. Out: stdout and stderr. Never: asks a store.
"""
