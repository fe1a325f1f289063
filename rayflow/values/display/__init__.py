"""Texts for people: tracebacks, warnings, and texts with masked secrets.

In: exceptions, warnings, texts. Out: plain data and lines of text. Never: encodes values.
"""
