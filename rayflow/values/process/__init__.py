"""This process: its main script, the code of its classes, the names of its modules, its long waits, its threads.

In: modules and classes that are loaded, functions to run. Out: names that are the same in every process. Never: values.
"""
