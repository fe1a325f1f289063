"""The names of other libraries, for projects that move to rayflow: one package for each library.

In: code that was written for another library, with its import changed. Out: the same runs, events and waits as from
rayflow's own names. Never: keeps anything by itself; imports the other library.
"""
