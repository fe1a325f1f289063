"""What a fork keeps of the run that it comes from.

In: what has happened at the places of a run, and its waits; the places that are released. Out: the rows with which the
fork begins; its start. Never: changes the run.

A released place is gone with all that stands below it. The calls above it keep their terms and lose their outcomes, so
that they are reduced again. What stands in these terms beside a released place is known by its arguments alone: a call
that is asked for with the same ones is done already, and one that gets another value is made anew.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from rayflow.errors import BadArguments, NotFound
from rayflow.evaluator.ledger import ROOT_PLACE
from rayflow.keeper.ids import derived_run_id
from rayflow.keeper.requests import StartRequested
from rayflow.lang.arguments import from_words
from rayflow.lang.terms.codec import dumps, loads
from rayflow.lang.terms.expressions import TaskCall, Term, render
from rayflow.records import PlaceRow, WaitRow
from rayflow.runtime.protocol.requests import new_execution_id
from rayflow.runtime.worker.results import pack_expression
from rayflow.service.large_values import kept_in
from rayflow.service.service import Service
from rayflow.values.digests import digest


class Kept(NamedTuple):
    """What a fork begins with. The rows name the run that they come from."""

    places: tuple[PlaceRow, ...]
    waits: tuple[WaitRow, ...]


def released_places(rows: Sequence[PlaceRow], named: Sequence[str], run_id: str) -> frozenset[bytes]:
    """The places that texts name: by the beginning of the id, by the name of the task, or by the last part of it.
    Raises NotFound."""
    found: set[bytes] = set()
    for text in named:
        meant = {row.place for row in rows if row.place.hex() == text or row.name == text}
        meant = meant or {row.place for row in rows if row.name.rpartition(".")[2] == text}
        meant = meant or {row.place for row in rows if text and row.place.hex().startswith(text)}
        if not meant:
            names = sorted({row.name for row in rows})
            there = f"It has places of {', '.join(names)}." if names else "Nothing of it is recorded by place."
            raise NotFound(f"Run {run_id} has no place {text!r}. {there}")
        found |= meant
    return frozenset(found)


def kept(
    rows: Sequence[PlaceRow], waits: Sequence[WaitRow], released: frozenset[bytes], *, has_other_root: bool
) -> Kept:
    """What a fork keeps. has_other_root: its root has other arguments, so that its body is called again."""
    by_place: defaultdict[bytes, list[PlaceRow]] = defaultdict(list)
    for row in rows:
        by_place[row.place].append(row)
    parents = {place: own[0].parent for place, own in by_place.items()}
    gone = _below(parents, released)
    above = _above(parents, released)
    if has_other_root:
        above.add(ROOT_PLACE)
    since = min((row.at for row in rows if row.place in released), default=None)
    places: list[PlaceRow] = []
    for place, own in by_place.items():
        if place in gone:
            continue
        own = _of_last_generation(own)
        if place in above:
            awaits = any(row.kind == "awaited" for row in own)
            own = [row for row in own if row.kind in ("term", "started", "tried")]
            if awaits or (has_other_root and place == ROOT_PLACE):
                # Its body is called again: what it returns follows from what it has awaited, or gets.
                own = [row._replace(outcome=None) for row in own if row.kind == "term"]
        elif all(row.kind in ("started", "tried") for row in own):
            continue  # what was begun, and has no end, belongs to the other run
        for row in own:
            if parents[place] in above:
                is_of_root = has_other_root and parents[place] == ROOT_PLACE
                if row.kind == "decision" and (is_of_root or since is None or row.at >= since):
                    continue
                row = row._replace(job_id=None)
            places.append(row)
    return Kept(tuple(places), tuple(_resolved(waits, gone)))


def _below(parents: Mapping[bytes, bytes | None], released: Iterable[bytes]) -> set[bytes]:
    children: defaultdict[bytes | None, list[bytes]] = defaultdict(list)
    for place, parent in parents.items():
        children[parent].append(place)
    found: set[bytes] = set()
    stack = list(released)
    while stack:
        place = stack.pop()
        if place not in found:
            found.add(place)
            stack += children.get(place, ())
    return found


def _above(parents: Mapping[bytes, bytes | None], released: Iterable[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    for place in released:
        parent = parents.get(place)
        while parent is not None and parent not in found:
            found.add(parent)
            parent = parents.get(parent)
    return found


def _of_last_generation(rows: Iterable[PlaceRow]) -> list[PlaceRow]:
    """The rows of a place that no retry has cleared, as those of a run that was never retried."""
    cleared: dict[bytes | None, int] = {}
    for row in rows:
        if row.kind == "cleared":
            cleared[row.key] = max(cleared.get(row.key, 0), (row.generation or 0) + 1)
    return [
        row._replace(generation=0, life=0)
        for row in rows
        if row.kind == "term"
        or (row.kind != "cleared" and (row.generation or 0) >= cleared.get(_about(row), 0))
    ]


def _about(row: PlaceRow) -> bytes | None:
    """What a clearing of this row is recorded under."""
    return row.key if row.kind == "awaited" else None


def _resolved(waits: Sequence[WaitRow], gone: set[bytes]) -> Iterable[WaitRow]:
    """For each wait that is resolved and not released: how it was opened last, and how it was resolved."""
    opened: dict[bytes, WaitRow] = {}
    last: dict[bytes, WaitRow] = {}
    for row in waits:
        last[row.place] = row
        if row.state == "open":
            opened[row.place] = row
    for place, row in last.items():
        if place not in gone and row.state == "resolved" and row.outcome is not None:
            yield opened[place]
            yield row


# --- the request ------------------------------------------------------------------------------------------------------


def fork(
    service: Service,
    run_id: str,
    *,
    at: Sequence[str],
    arguments: Mapping[str, Any],
    words: Sequence[str],
    directory: str | None,
    id: str | None,
    tags: Mapping[str, Any] | None,
    request_id: str | None,
) -> Future[Any]:
    """Start another run from what a run has done, but for the places that `at` names and what stands below them.

    arguments, words, directory: other arguments, as for `Service.start_named`; those that are not given stay. id,
    request_id: as for a start. tags: those of the run if None. Raises NotFound, BadArguments.
    """
    if not (at or arguments or words):
        raise BadArguments("A fork says from where on (at), or with which other arguments. `retry` needs neither.")
    first, rows, waits = service.questions.fork_source(run_id)
    assert first.root is not None
    released = released_places(rows, at, run_id)
    root, shown = first.root, first.arguments
    if arguments or words:
        term = _with_arguments(service, root, arguments, words, directory or service.config.project_dir)
        root, shown = dumps(term), render(term)
    begun = kept(rows, waits, released, has_other_root=root != first.root)
    own_id = derived_run_id(f"request:{request_id}") if request_id is not None else new_execution_id()
    said = digest("fork", run_id.encode(), root, *sorted(released))

    def request(now: int, name: str) -> StartRequested:
        return StartRequested(
            now, name, own_id, root, said, first.flow, shown, id, priority=first.priority or 0, queue=first.queue,
            tags=first.tags if tags is None else json.dumps(dict(tags)), forked_run_id=run_id, places=begun.places,
            waits=begun.waits,
        )  # fmt: skip

    return service.ask(request)


def _with_arguments(
    service: Service, root: bytes, arguments: Mapping[str, Any], words: Sequence[str], typed_at: str
) -> Term:
    """The root term of a run with other arguments."""
    term = loads(root)
    if type(term) is not TaskCall:
        raise BadArguments("The root of this run is not a call of a task: it has no arguments that could be others.")

    keep = kept_in(service.store)
    task = service.task_named(term._task)
    given = from_words.given_in(task, words, data=arguments, typed_at=typed_at)
    packed = {name: pack_expression(value, keep)[0] for name, value in given.items()}
    before = task.parameters.bind(term._args, term._kwargs, name=task.fullname)
    args, kwargs = task.parameters.spread({**before, **packed})
    return TaskCall(term._task, tuple(args), kwargs or None, term._options, term._length)
