"""Values to hashes and to bytes, and back: the walk over containers, cycles, identity, encoding, previews.

In: any value. Out: its hash, its bytes, its text on one line. Never: writes them anywhere.
"""
