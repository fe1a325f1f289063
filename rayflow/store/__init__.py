"""The store: blobs by content, records as Arrow and Parquet files, and the questions that they answer.

In: records and bytes. Out: bytes and answers. Never: evaluates anything or knows the language.
"""
