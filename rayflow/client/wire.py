"""The calls of a service's API, for both clients.

In: what a user asks. Out: `ApiCall`: method, path, body, and how to read the answer. Never: sends anything.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

from rayflow import errors
from rayflow.errors import RayflowError, ServiceUnavailable
from rayflow.lang.packing.realize import realized
from rayflow.lang.terms.outcomes import unpack_outcome
from rayflow.values.display.tracebacks import raise_failure
from rayflow.values.encoding.encoding import decode, decode_inline, from_bytes
from rayflow.values.failures import Failure, exception_from_failure
from rayflow.values.refs import ValueRef

LONGEST_POLL_SECONDS = 20.0
"""The longest time that one request waits for a result; then the client asks again."""


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One call of the API. body: plain data, sent as JSON, or bytes. patience: seconds that the service may take to
    answer, beyond the usual ones."""

    method: str
    path: str
    body: Any = None
    patience: float = 0.0


def path_of(*parts: str, **query: Any) -> str:
    """A path of the API, with its query."""
    given = {name: value for name, value in query.items() if value is not None}
    text = "/api/" + "/".join(quote(part, safe="") for part in parts)
    return f"{text}?{urlencode(given)}" if given else text


def answer_of(status: int, content: bytes) -> Any:
    """The answer in the body of a response. Raises the error that it holds, by its own class."""
    try:
        answer = json.loads(content) if content else None
    except ValueError:
        raise ServiceUnavailable(f"What answers there is no rayflow service (HTTP {status}).") from None
    if status >= 400:
        _raise(status, answer)
    return answer


def _raise(status: int, answer: Any) -> NoReturn:
    told = answer.get("error") if isinstance(answer, Mapping) else None
    if not isinstance(told, Mapping):
        raise ServiceUnavailable(f"What answers there is no rayflow service (HTTP {status}).")
    of = getattr(errors, str(told.get("type")), None)
    message = str(told.get("message"))
    if isinstance(of, type) and issubclass(of, RayflowError):
        raise of(message)
    raise ServiceUnavailable(f"{told.get('type')}: {message}")


def value_in(outcome: str, fetch_blob: Callable[[bytes], bytes]) -> Any:
    """The value of a packed outcome, in base64. Raises the failure as its own exception.

    fetch_blob: gives the bytes of a large value.
    """
    found = unpack_outcome(base64.b64decode(outcome))
    if isinstance(found, Failure):
        raise_failure(exception_from_failure(found))

    def fetch(ref: ValueRef) -> Any:
        return decode_inline(ref) if ref.inline is not None else decode(from_bytes(fetch_blob(ref.digest)))

    return realized(found, fetch)
