"""What people type: the words behind a task's name, tags, filters, names; and what a shell completes.

In: words. Out: values, or an error that says what was meant. Never: prints answers.
"""
