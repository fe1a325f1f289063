"""What a request to the API may say: operations with typed fields, and how these are read and checked.

In: an operation, and the texts and bytes of a request. Out: `Asked`: checked values by name; or BadArguments, which
names the field. Never: answers a request.

One table of operations (`api_operations`) makes the routes, the checks and the OpenAPI document. So they agree.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias

from rayflow.errors import BadArguments

Kind: TypeAlias = Literal["text", "integer", "number", "flag", "moment", "object", "anything"]

LAST_MOMENT = 253_402_300_799_000_000
"""The end of the year 9999, in microseconds since the epoch: what is recorded has to hold a moment."""

MOST_BYTES = 8 * 1024 * 1024
"""The largest body of JSON. While a body is parsed, nothing else of this process runs, not even the renewal of the
lease: a tenth of a second for a megabyte at worst. Large values come as blobs."""

MOST_BLOB_BYTES = 1024 * 1024 * 1024
"""The largest value of an argument."""

_KINDS: Mapping[str, tuple[tuple[type, ...], str, dict[str, Any]]] = {
    "text": ((str,), "a text", {"type": "string"}),
    "integer": ((int,), "a whole number", {"type": "integer"}),
    "number": ((int, float), "a number", {"type": "number"}),
    "flag": ((bool,), "true or false", {"type": "boolean"}),
    "moment": (
        (int, str),
        "a moment: microseconds since the epoch, or ISO 8601 with a time zone",
        {"oneOf": [{"type": "integer"}, {"type": "string", "format": "date-time"}]},
    ),
    "object": ((dict,), "an object", {"type": "object"}),
    "anything": ((object,), "any JSON", {}),
}
"""For each kind of field: the types of its values, its name for people, and its JSON schema."""


@dataclass(frozen=True, slots=True)
class ApiField:
    """One field of a query or body.

    meaning: for people. many: whether it is a list; in a query it may stand several times. choices: the only values.
    least, most: of a number, or of the length of a text or list.
    """

    name: str
    kind: Kind
    meaning: str
    many: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    is_required: bool = False

    def schema(self) -> dict[str, Any]:
        """Its JSON schema."""
        one = dict(_KINDS[self.kind][2])
        if self.choices:
            one["enum"] = list(self.choices)
        if self.kind in ("integer", "number"):
            one |= {} if self.least is None else {"minimum": self.least}
            one |= {} if self.most is None else {"maximum": self.most}
        elif self.kind == "text":
            one |= {} if self.least is None else {"minLength": int(self.least)}
            one |= {} if self.most is None else {"maxLength": int(self.most)}
        made = {"type": "array", "items": one} if self.many else one
        return made if self.default is None else {**made, "default": self.default}

    def of_query(self, texts: Sequence[str]) -> Any:
        """The value of a field in a query. Raises BadArguments."""
        if not self.many and len(texts) > 1:
            raise BadArguments(f"{self.name} stands {len(texts)} times in the query: it is one value.")
        values = [self._checked(self._read(text)) for text in texts]
        return values if self.many else values[0]

    def _read(self, text: str) -> Any:
        try:
            if self.kind == "integer":
                return int(text)
            if self.kind == "number":
                return float(text)
            if self.kind == "moment":
                return int(text) if text.removeprefix("-").isdigit() else text
        except ValueError:
            raise self._wrong(text) from None
        if self.kind == "flag":
            if text.lower() not in ("true", "false", "1", "0"):
                raise self._wrong(text)
            return text.lower() in ("true", "1")
        return text

    def of_body(self, value: Any) -> Any:
        """The value of a field in a body. Raises BadArguments."""
        if not self.many:
            return self._checked(value)
        if not isinstance(value, list):
            raise BadArguments(f"{self.name} is a list: each is {_KINDS[self.kind][1]}. It is not {value!r:.100}.")
        return [self._checked(each) for each in value]

    def _checked(self, value: Any) -> Any:
        types = _KINDS[self.kind][0]
        if not isinstance(value, types) or (isinstance(value, bool) and self.kind not in ("flag", "anything")):
            raise self._wrong(value)
        if self.choices and value not in self.choices:
            raise BadArguments(f"{self.name} is {value!r:.100}: write {', '.join(self.choices)}.")
        if isinstance(value, str) and self.kind != "anything":
            _check_text(self.name, value)
        if self.kind == "moment":
            return self._moment(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise self._wrong(value)
        size = len(value) if self.kind == "text" else value
        if self.least is not None and size < self.least:
            raise BadArguments(f"{self.name} is {value!r:.100}: {self._measured()} is {self.least:,} at least.")
        if self.most is not None and size > self.most:
            raise BadArguments(f"{self.name} is {value!r:.100}: {self._measured()} is {self.most:,} at most.")
        return value

    def _measured(self) -> str:
        return "its length" if self.kind == "text" else "it"

    def _moment(self, value: int | str) -> int:
        if isinstance(value, str):
            try:
                moment = datetime.datetime.fromisoformat(value)
            except ValueError:
                raise self._wrong(value) from None
            if moment.tzinfo is None:
                raise BadArguments(f"{self.name} is {value!r}: it has no time zone. Write {value}Z for UTC.")
            value = int(moment.timestamp() * 1_000_000)
        if not -LAST_MOMENT <= value <= LAST_MOMENT:
            raise BadArguments(f"{self.name} is {value}: it is within {LAST_MOMENT} microseconds of 1970.")
        return value

    def _wrong(self, value: Any) -> BadArguments:
        return BadArguments(f"{self.name} is {_KINDS[self.kind][1]}, not {value!r:.100}.")


def _check_text(name: str, text: str) -> None:
    """Half of a character, which JSON can say, cannot be recorded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadArguments(f"{name} has half of a character: {text!r:.100}.") from None


@dataclass(frozen=True, slots=True)
class ApiOperation:
    """One operation of the API.

    name: its id, and the method of the handlers. summary: for people. query: the fields of its query. body: those of
    its JSON body; None for an operation without one. takes: "json", or "bytes" for a body that is no JSON. answer: the
    name of the answer's schema (`api_schemas`), or a media type with a slash. access: "token", "open" for everybody, or
    "signature" for a webhook.
    """

    method: str
    path: str
    name: str
    summary: str
    answer: str
    query: tuple[ApiField, ...] = ()
    body: tuple[ApiField, ...] | None = None
    takes: Literal["json", "bytes"] = "json"
    access: Literal["token", "open", "signature"] = "token"

    @property
    def is_once(self) -> bool:
        """Whether the request id makes repeated requests one."""
        return self.method == "POST" and self.access == "token"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is checked.

    path: the parts of its path, by name. query, body: the values of the fields, by name; those that were not given have
    their defaults. raw: the body as bytes, of an operation that takes bytes. headers: by name in lower case.
    request_id: names the request: another one with the same id is the same request. repeats: whether it was sent
    before; None if its sender does not say.
    """

    path: Mapping[str, str]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    raw: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    request_id: str | None = None
    repeats: bool | None = None


def read_query(fields: Sequence[ApiField], given: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The values in a query. given: its names and texts, in order. Raises BadArguments."""
    texts: dict[str, list[str]] = {}
    for name, text in given:
        texts.setdefault(name, []).append(text)
    return _values(fields, texts, "query", lambda each, found: each.of_query(found))


def read_body(fields: Sequence[ApiField], content: bytes) -> dict[str, Any]:
    """The values in a JSON body. Raises BadArguments."""
    found = json_in(content or b"{}")
    if not isinstance(found, dict):
        raise BadArguments("The body of the request is not a JSON object.")
    # A field that is null was not given; but null may be an answer, or the data of an event.
    anything = {each.name for each in fields if each.kind == "anything"}
    given = {name: value for name, value in found.items() if value is not None or name in anything}
    return _values(fields, given, "body", lambda each, value: each.of_body(value))


def json_in(content: bytes) -> Any:
    """What a body of JSON says. Raises BadArguments."""
    try:
        found = json.loads(content, parse_constant=_refuse_constant)
        json.dumps(found, ensure_ascii=False).encode()  # half of a character cannot be recorded
    except (ValueError, RecursionError) as error:
        raise BadArguments(f"The body of the request is not JSON: {error}.") from None
    return found


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number of JSON")


def _values(fields: Sequence[ApiField], given: Mapping[str, Any], where: str, read: Any) -> dict[str, Any]:
    known = {each.name: each for each in fields}
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"It has {', '.join(known)}." if known else "It has none."
            raise BadArguments(f"The {where} of this request has no field {name!r:.100}. {hint}")
    missing = [each for each in fields if each.is_required and given.get(each.name) is None]
    if missing:
        raise BadArguments(f"The {where} lacks {missing[0].name}: {missing[0].meaning}.")
    return {
        each.name: read(each, given[each.name])
        if each.name in given
        else list(each.default)
        if isinstance(each.default, tuple)
        else each.default
        for each in fields
    }
