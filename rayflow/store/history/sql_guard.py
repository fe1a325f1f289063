"""Checks that a query is one statement that reads.

In: SQL text. Out: nothing, or BadQuery that says what is allowed. Never: runs the query.

The type of a statement is not enough: `EXPLAIN ANALYZE COPY ...`, and a COPY inside WITH, write files, too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import duckdb

from rayflow.errors import BadQuery
from rayflow.pasting import command

_READING = frozenset({"SELECT", "EXPLAIN", "PRAGMA", "MULTI"})
"""Types of statements that may read. SELECT is also VALUES, FROM, DESCRIBE, SHOW and SUMMARIZE; MULTI is PIVOT."""

_FIRST_WORDS = frozenset(
    {"select", "with", "from", "values", "table", "describe", "desc", "show", "summarize", "pivot", "unpivot"}
    | {"pivot_wider", "pivot_longer", "pragma", "("}
)
"""The words that a query may begin with, behind EXPLAIN and its options."""

_WRITING = frozenset({"copy", "insert", "update", "delete", "merge"})

ALLOWED = "Only queries can be asked: SELECT, WITH, FROM, VALUES, PIVOT, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN or PRAGMA"


_LIKE_A_FILE = re.compile(r"Table with name \S*(/|\.(csv|json|parquet|txt|tsv|db)\b)")


_NO_COLUMN = re.compile(r'does not have a column named "([^"]*)"|Referenced column "([^"]*)" not found')


def with_hint(error: duckdb.Error, url: str, columns: Sequence[str] = (), *, allows_files: bool = False) -> str:
    """DuckDB's message, with advice. For an unknown name: where the names are listed, and the nearest of `columns` when
    DuckDB offers none. For a file or address outside the store: how to allow it."""
    is_outside = isinstance(error, duckdb.PermissionException) or _LIKE_A_FILE.search(str(error))
    if allows_files or not is_outside:
        if not isinstance(error, duckdb.BinderException | duckdb.CatalogException):
            return str(error)
        found = _NO_COLUMN.search(str(error))
        near = difflib.get_close_matches((found[1] or found[2]).lower(), columns, n=3, cutoff=0.5) if found else []
        offer = f"Did you mean {' or '.join(near)}? " if near and "Candidate bindings" not in str(error) else ""
        return f"{error}\n{offer}`{command('sql', '--schema', store=url)}` lists the tables and columns."
    allowing = command("sql", "--allow-files", "QUERY", store=url)
    return (
        f"{error}\nA query reads the store, and no other file nor the network, unless that is allowed: `{allowing}`, "
        "or in Python sql(query, allow_files=True)."
    )


def check(query: str) -> None:
    """Raise BadQuery unless the text is one statement that reads."""
    try:
        query.encode()
    except UnicodeEncodeError:
        raise BadQuery(f"The query holds bytes that are not UTF-8: {query!a}.") from None
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
