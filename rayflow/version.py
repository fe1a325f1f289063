"""The version, said once: the package's metadata, the records and the command line take it from here.

In: nothing. Out: `VERSION`. Never: logic.
"""

VERSION = "0.1.0"
