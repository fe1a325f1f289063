"""Terms: the lazy expressions that a user's calls make, and their bytes.

In: calls. Out: expressions, and what a store or a network carries of them. Never: reduces them.
"""
