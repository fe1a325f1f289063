"""Values: their hashes, their bytes, their references, and whether recorded ones are still valid.

In: any Python object, and bytes. Out: hashes, encoded values, references, witnesses. Never: tasks, jobs, clusters.

What other rooms give to values, each at one place: the code of functions and classes (process/code_reader), the script
of the driver (process/main_module), the directory of the project (files/file_states), masks of secrets of other
processes (display/masking).
"""
