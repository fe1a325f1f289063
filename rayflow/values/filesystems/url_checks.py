"""Checks for mistyped URLs, and guesses what was meant.

In: a text that should be a path or URL. Out: nothing, or an error that says what to write. Never: looks at a disk or a
network.

`s3:/bucket/x` and `https//host/x` are valid names of local files, but nobody means that, and a store or file would be
made there without a word. For such a local file, write `./s3:/bucket/x`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from rayflow.errors import UserError

SCHEMES = (
    "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "hdfs", "http", "https", "ftp", "sftp", "ssh", "smb",
    "webdav", "webhdfs", "hf", "github", "git", "oci", "oss", "dbfs", "lakefs", "dropbox", "gdrive", "memory", "file",
)  # fmt: skip
"""Schemes that are recognized in mistyped URLs. Other schemes work, too, if fsspec knows them."""

_KNOWN = frozenset(SCHEMES)
_WITHOUT_SIGN = frozenset({"s3", "gs", "http", "https"})
"""Schemes that are recognized without their colon. A text such as `git//x` is more likely a path with two slashes."""

_WITH_COLON = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.\-]*):(/*)(.*)", re.DOTALL)
_ON_THIS_HOST = re.compile(r"\s*file://localhost/", re.IGNORECASE)
_WITHOUT_COLON = re.compile(r"\s*([A-Za-z][A-Za-z0-9]*)(//|;//|\\\\|:\\)(.*)", re.DOTALL)


def check_place(text: str, what: str, error: type[UserError]) -> None:
    """Raise `error` unless the text can be a path or URL. what: the beginning of the message, such as `The store`."""
    if not text:
        raise error(f"{what} has an empty path.")
    if "\0" in text:
        raise error(f"{what} has a zero byte in its path {text!r}.")
    if ":" not in text and "//" not in text:
        return
    meant = meant_url(text)
    if meant is not None and _ON_THIS_HOST.match(text):
        raise error(f"{what} is {text!r}, which names a host: write {meant}.")
    if meant is not None:
        raise error(f"{what} is {text!r}, which is no URL. Did you mean {meant}? (A local path begins with ./ or /.)")


def meant_url(text: str) -> str | None:
    """The URL that was meant by a mistyped one; None for a correct URL, and for a path."""
    colon = _WITH_COLON.match(text)
    if colon is not None:
        scheme, slashes, rest = colon[1].lower(), colon[2], colon[3]
        if "::" in text.partition("/")[0]:
            return None  # a chain of fsspec: simplecache::s3://...
        if scheme == "file":
            is_good = len(slashes) == 3 and text.startswith("file:")
            return None if is_good else f"file:///{_ON_THIS_HOST.sub('', text) if _ON_THIS_HOST.match(text) else rest}"
        if scheme not in _KNOWN:
            return None
        is_good = len(slashes) == 2 and text.startswith(scheme) and bool(rest or scheme == "memory")
        # `memory:///a` is what memory's own paths look like.
        is_good = is_good or (scheme == "memory" and len(slashes) == 3 and text.startswith(scheme))
        return None if is_good else f"{scheme}://{rest or 'BUCKET'}"
    bare = _WITHOUT_COLON.match(text)
    if bare is not None and bare[1].lower() in _WITHOUT_SIGN:
        return f"{bare[1].lower()}://{bare[3]}"
    return None


def near_scheme(scheme: str, known: Iterable[str]) -> str:
    """The end of the message about an unknown scheme: the nearest known one; empty if none is near."""
    near = difflib.get_close_matches(scheme.lower(), list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]}://?" if near else ""
