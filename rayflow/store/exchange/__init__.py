"""Between stores, and out of them: copies, archives, and the removal of what nothing refers to.

In: stores. Out: what was copied or removed. Never: changes a record.
"""
