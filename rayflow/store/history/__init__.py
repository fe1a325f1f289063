"""Questions over what was recorded: in SQL, and as the lookups that most questions need.

In: ids, filters, SQL. Out: plain data. Never: writes records.
"""
