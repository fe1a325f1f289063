"""What counts as a query: one statement that reads.

In: SQL text. Out: nothing, or BadQuery that says what is allowed. Never: runs it.

A statement's kind alone does not tell: `EXPLAIN ANALYZE COPY ...` and a COPY inside WITH write files, too.
"""

from __future__ import annotations

import duckdb

from rayflow.errors import BadQuery

_READING = frozenset({"SELECT", "EXPLAIN", "PRAGMA", "MULTI"})
"""Kinds of statements that may read: SELECT is also VALUES, FROM, DESCRIBE, SHOW and SUMMARIZE, MULTI is PIVOT."""

_FIRST_WORDS = frozenset(
    {"select", "with", "from", "values", "table", "describe", "desc", "show", "summarize", "pivot", "unpivot"}
    | {"pivot_wider", "pivot_longer", "pragma", "("}
)
"""What a query begins with, behind EXPLAIN and its options."""

_WRITING = frozenset({"copy", "insert", "update", "delete", "merge"})

ALLOWED = "Only queries can be asked: SELECT, WITH, FROM, VALUES, PIVOT, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN or PRAGMA"


def check(query: str) -> None:
    """Raises BadQuery when the text is not one statement that reads."""
    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error as error:
        raise BadQuery(str(error)) from error
    if not statements:
        raise BadQuery('The query is empty. Give one, such as "select * from executions".')
    if len(statements) > 1:
        raise BadQuery(f"These are {len(statements)} statements; one is run at a time.")
    kind = statements[0].type.name
    words = _words(query)
    begins = _first(words)
    if kind not in _READING or begins not in _FIRST_WORDS:
        raise BadQuery(f"{ALLOWED}. This one is {begins.upper()}.")
    if begins == "pragma" and "import_database" in words:
        raise BadQuery(f"{ALLOWED}. This one is PRAGMA import_database.")
    for before, opening, word in zip(words, words[1:], words[2:], strict=False):
        if opening == "(" and before in ("as", "materialized") and word in _WRITING:
            raise BadQuery(f"{ALLOWED}. This one has {word.upper()} inside.")


def _words(query: str) -> list[str]:
    """The words and signs of a query, lower-case, without comments and texts."""
    tokens = duckdb.tokenize(query)
    ends = [*(start for start, _ in tokens[1:]), len(query.encode())]
    content = query.encode()
    return [
        content[start:end].decode().strip().lower()
        for (start, kind), end in zip(tokens, ends, strict=True)
        if kind not in (duckdb.token_type.comment, duckdb.token_type.string_const)
    ]


def _first(words: list[str]) -> str:
    """The word that a query begins with, behind EXPLAIN and its options."""
    position = 0
    if words[0] == "explain":
        position = 1
        # In parentheses stand options, or the query itself.
        if words[1:2] == ["("] and words[2:3] != ["("] and words[2] not in _FIRST_WORDS and ")" in words:
            position = words.index(")") + 1
        position += words[position : position + 1] == ["analyze"]
    return words[position] if position < len(words) else words[0]
