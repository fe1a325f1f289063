"""Vectors: many calls of one task with plain arguments go the way from the term to the records as columns.

In: calls that stand together in a container, answers that come for many members. Out: look-ups, attempts and rows as
columns; values in the container's cell. Never: handles anything but success.

A vector has the same rows, ids and hashes as its calls have one by one. It is a short cut through the usual way, and
takes only what needs no decision: calls of one task without options of their own, whose arguments are scalars; answers
that are one valid scalar; bodies that return a scalar and leave nothing else. Every other member leaves the vector at
that point, and goes on as a job (`members.leave`): one with a failure, a retry, a lost worker, an equal call elsewhere,
an expression or a file as result, printed lines. The numbers of a vector's members follow each other, so any message
for one job finds its member.

Reads the tasks and options of the execution. Changes: the cell of the container and the job around; of the execution
vectors, shared and counts; of the State vectors, numbers, young, fills and out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from rayflow.errors import BadArguments, BadOption
from rayflow.evaluator import commands, lookups, messages
from rayflow.evaluator.calls import DEEP, meet_identified
from rayflow.evaluator.graph import BLOCK_BITS, LEFT, Cell, Job, Vector
from rayflow.evaluator.hashes import args_hashes_of, eval_hashes_of
from rayflow.evaluator.job_states import LOOKUP, RUNNING
from rayflow.evaluator.members import forget, member_in, siblings_in
from rayflow.evaluator.opening_rows import note_young
from rayflow.evaluator.paths import child_path
from rayflow.evaluator.places import pinned_caller, vector_rows
from rayflow.evaluator.state import State, wait_for, warn
from rayflow.evaluator.vector_rows import Costs, EndedMembers, Members, record_ended
from rayflow.lang.options.option_values import is_auto
from rayflow.lang.options.options import scope_of
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import loads
from rayflow.lang.terms.expressions import Expression, TaskCall
from rayflow.records import SINGLE
from rayflow.values.digests import SHORT_DIGEST_BYTES, digests
from rayflow.values.native import SCALARS

FEWEST = 8
"""The fewest calls that make a vector. If there are fewer, each of them costs less as a job."""

MOST_LETTERS = 1_000
"""The longest text or bytes that are plain arguments."""

MOST_BYTES = 4_000
"""The longest packed term that is a plain result."""

PICKLED = b"\x80"
"""The first byte of a packed term without witnesses and blobs."""

PLAIN_OPTIONS = frozenset(
    {
        "accelerator_type", "bundle", "cache", "cache_scope", "check_types", "config_args", "label_selector",
        "max_worker_losses", "memory", "num_cpus", "num_gpus", "priority", "profile", "resources", "retries",
        "retry_backoff", "retry_delay", "retry_jitter", "retry_max_delay", "retry_on", "runtime_env",
        "scheduling_strategy", "timeout",
    }
)  # fmt: skip
"""Options that are the same to a vector and to a job: they concern only the way of an attempt, or what may answer."""


class ContainerPart(NamedTuple):
    """Expressions that follow each other in a container, as one demand. first: the place of the first one there."""

    expressions: Sequence[Expression]
    first: int


Alone: TypeAlias = Callable[[State, Expression, Job, bytes, Cell, int], None]
"""Reduces one expression in the usual way."""


# --- forming ----------------------------------------------------------------------------------------------------------


class _Shape(NamedTuple):
    """What the calls of a vector have in common: the task, and how many arguments are given by place and by name."""

    task: str
    by_place: int
    keywords: tuple[str, ...]


class _Default(NamedTuple):
    value: Any


class _Binding(NamedTuple):
    """How the calls of one shape bind their arguments.

    places: for each name, the position of the argument among all that are given, or the default. None: as given.
    """

    entry: TaskEntry
    options: Mapping[str, Any]
    names: tuple[str, ...]
    places: tuple[int | _Default, ...] | None


def reduce_together(state: State, together: ContainerPart, scope: Job, path: bytes, cell: Cell, alone: Alone) -> None:
    """Reduce expressions that stand together: plain calls of one task as a vector, each other one `alone`.

    One after the other, in their order: so ordinals are given, and equal calls are found, as if all went alone.
    """
    expressions, first = together
    groups = _groups_of(state, together, scope, path, cell)
    if len(groups) == 1 and len(groups[0].places) == len(expressions) and groups[0].add_all():
        groups[0].send(state)
        return
    turns = {place: (group, index) for group in groups for index, place in enumerate(group.places)}
    for place, expression in enumerate(expressions):
        turn = turns.get(place)
        if turn is None or scope.execution.is_restricted:  # an earlier one may have stopped the execution
            alone(state, expression, scope, child_path(path, "part", first + place), cell, first + place)
        elif not turn[0].add(turn[1]):
            wait_for(state, turn[0].job_of(state, turn[1]), cell, first + place)
    for group in groups:
        group.send(state)


def _groups_of(state: State, together: ContainerPart, scope: Job, path: bytes, cell: Cell) -> list[_Group]:
    """The groups of plain calls that are large enough for a vector."""
    if scope.execution.is_restricted or _may_be_pinned(scope):
        return []
    found: list[_Group] = []
    for shape, places in _by_shape(together.expressions).items():
        if shape is None or len(places) < state.fewest:
            continue
        binding = _binding_of(shape, scope)
        if binding is not None:
            found.append(_Group(state, binding, scope, path, cell, together, places))
    return found


def _may_be_pinned(scope: Job) -> bool:
    """Whether an earlier life may have pinned the outcomes of calls in this job's term."""
    ledger = scope.execution.ledger
    return ledger is not None and bool(ledger.by_path) and pinned_caller(scope) is not None


def _by_shape(expressions: Sequence[Expression]) -> Mapping[_Shape | None, Sequence[int]]:
    """The places of expressions, by shape."""
    shapes = _shapes_of(expressions)
    if shapes.count(shapes[0]) == len(shapes):
        return {shapes[0]: range(len(shapes))}
    # In one pass: of 4,096 calls, each eight may be of another task.
    places: defaultdict[_Shape | None, list[int]] = defaultdict(list)
    for place, shape in enumerate(shapes):
        places[shape].append(place)
    return places


def _shapes_of(expressions: Sequence[Expression]) -> list[_Shape | None]:
    """The shapes of plain calls; None for any other expression. Equal shapes that follow each other are one object."""
    shapes: list[_Shape | None] = []
    last: _Shape | None = None
    for each in expressions:
        shape = _shape_of(each, last)
        shapes.append(shape)
        last = shape or last
    return shapes


def _shape_of(call: Expression, last: _Shape | None) -> _Shape | None:
    """The shape of a plain call; None for any other expression. last: the shape of the call before, often the same."""
    if type(call) is not TaskCall or call._options or call._shared:
        return None
    keywords = call._kwargs
    for value in (*call._args, *keywords.values()) if keywords else call._args:
        of = type(value)
        if of not in SCALARS or ((of is str or of is bytes) and len(value) > MOST_LETTERS):
            return None
    shape = _Shape(call._task, len(call._args), tuple(keywords) if keywords else ())
    return last if last == shape else shape


def _binding_of(shape: _Shape, scope: Job) -> _Binding | None:
    """How calls of this shape bind their arguments; None where they cannot be a vector."""
    execution, received = scope.execution, scope.hands_down
    entry = execution.tasks.table.get(shape.task)
    if entry is None or _is_special(entry) or received.exports or scope.depth + 1 >= DEEP:
        return None
    given = range(shape.by_place + len(shape.keywords))
    keywords = dict(zip(shape.keywords, given[shape.by_place :], strict=True))
    try:
        options, hands_down = execution.call_options.of_call(entry, None, received)
        bound = entry.parameters.bind(tuple(given[: shape.by_place]), keywords, name=entry.name)
    except (BadArguments, BadOption):
        return None  # each job says what is wrong with its call
    if not PLAIN_OPTIONS.issuperset(options) or hands_down is not received:
        return None
    if is_auto(options):
        return None  # sizes are chosen for one call after the other
    defaults = execution.tasks.defaults_of(entry) if entry.defaults is not None else {}
    names = tuple([name for name in entry.parameters.names if name in bound or name in defaults])
    places = tuple([bound[name] if name in bound else _Default(defaults[name]) for name in names])
    if any(type(each.value if type(each) is _Default else each) not in SCALARS for each in places):
        return None  # *args, **kwargs, or a default that is no scalar
    return _Binding(entry, options, names, None if places == tuple(given) else places)


def _is_special(entry: TaskEntry) -> bool:
    """Whether calls of a task are never plain."""
    return bool(
        entry.job_info
        or entry.lazy_options is not None
        or entry.is_nested
        or entry.is_named_after_caller
        or entry.sees_staged_alone
    )


def _arguments_of(call: Any, places: tuple[int | _Default, ...] | None) -> tuple[Any, ...]:
    """The arguments of a call, in the order of the bound names."""
    if places is None and not call._kwargs:
        return tuple(call._args)
    given = (*call._args, *call._kwargs.values()) if call._kwargs else call._args
    if places is None:
        return given
    return tuple([place.value if isinstance(place, _Default) else given[place] for place in places])


def _repeated(keys: Sequence[bytes]) -> frozenset[bytes]:
    """The keys that are there more than once."""
    if len(set(keys)) == len(keys):
        return frozenset()
    return frozenset([key for key, count in Counter(keys).items() if count > 1])


class _Group:
    """Plain calls of one shape that become a vector: their hashes, and the vector that they are added to one by one.

    places: the positions of the calls in what stands together.
    """

    def __init__(
        self,
        state: State,
        binding: _Binding,
        scope: Job,
        path: bytes,
        cell: Cell,
        together: ContainerPart,
        places: Sequence[int],
    ) -> None:
        entry, names = binding.entry, binding.names
        self.places = places
        self._first = together.first
        self._arguments = [_arguments_of(together.expressions[place], binding.places) for place in places]
        self._job_ids = digests(
            "part", path, [(together.first + place).to_bytes(4, "little") for place in places], size=SHORT_DIGEST_BYTES
        )
        self._args_hashes = args_hashes_of(entry, names, self._arguments)
        self._eval_hashes = eval_hashes_of(entry, self._args_hashes)
        vector = self._vector = Vector(scope, entry, binding.options, scope.hands_down, cell, path, state.now)
        vector.names = names
        # The numbers are reserved now: jobs that are made between the members have others.
        vector.first = ((state.numbers >> BLOCK_BITS) + 1) << BLOCK_BITS
        state.numbers = vector.first + len(places)
        execution = scope.execution
        self._shares = scope_of(vector.options) != "NONE"
        self._repeated = _repeated(self._eval_hashes) if self._shares else frozenset()
        is_cached = scope_of(vector.options) == "BACKEND" and execution.cache
        vector.missed = None if is_cached else lookups.missed_unasked(vector)
        self._to = LOOKUP if vector.is_asked else RUNNING
        if self._to is RUNNING:
            vector.sent_at = state.now  # a member may leave before the vector is sent, in this same turn
        vector.open = 1  # until it is sent: a member that leaves meanwhile must not close it
        state.vectors[vector.first >> BLOCK_BITS] = execution.vectors[vector.first] = vector

    def add_all(self) -> bool:
        """Add all calls, unless one of them has an equal call; give whether they were added."""
        vector, keys = self._vector, self._eval_hashes
        shared = vector.execution.shared
        count = len(keys)
        if self._shares:
            if self._repeated or not shared.keys().isdisjoint(keys):
                return False
            shared.update(dict.fromkeys(keys, vector))
        totals = vector.execution.tally.totals
        vector.ordinals = range(totals["jobs"] + 1, totals["jobs"] + 1 + count)
        totals["jobs"] += count
        vector.positions = range(self._first, self._first + count)
        vector.arguments, vector.job_ids = self._arguments, self._job_ids
        vector.args_hashes, vector.eval_hashes = self._args_hashes, keys
        vector.states = bytearray([self._to]) * count
        vector.value_hashes, vector.call_hash_of = [None] * count, [None] * count
        vector.hows, vector.outcomes = [None] * count, [None] * count
        vector.open += count
        return True

    def add(self, index: int) -> bool:
        """Add one call, unless an equal call is there or follows; give whether it was added."""
        vector, key = self._vector, self._eval_hashes[index]
        execution = vector.execution
        if self._shares:
            if key in self._repeated or key in execution.shared:
                return False
            execution.shared[key] = vector
        totals = execution.tally.totals
        totals["jobs"] += 1
        vector.append(
            position=self._first + self.places[index],
            ordinal=totals["jobs"],
            arguments=self._arguments[index],
            job_id=self._job_ids[index],
            args_hash=self._args_hashes[index],
            eval_hash=key,
            state=self._to,
        )
        return True

    def job_of(self, state: State, index: int) -> Job:
        """A call that was not added, as a job with the hashes that are known here."""
        vector = self._vector
        return meet_identified(
            state,
            vector.parent,
            vector.entry,
            vector.options,
            self._job_ids[index],
            dict(zip(vector.names, self._arguments[index], strict=True)),
            self._args_hashes[index],
            self._eval_hashes[index],
        )

    def send(self, state: State) -> None:
        """All calls are added: count them, and ask the store or send the attempts."""
        vector = self._vector
        execution, count = vector.execution, len(vector.states)
        if not count:
            forget(state, vector)
            return
        execution.tally.count(vector.name, "open", count)
        execution.in_flight += count
        entry = vector.entry
        if entry.unresolved and execution.cache and scope_of(entry.options) == "BACKEND" and entry.doubt is not None:
            warn(state, execution, entry.doubt)
        siblings = siblings_in(vector.parent)
        if siblings is not None:
            siblings.append(vector)
        note_young(state, vector)
        if self._to is LOOKUP:
            execution.looking += count
            keys = lookups.remember_keys(vector, vector.eval_hashes, vector.job_ids)
            state.out.append(commands.LookUpVector(vector.first, keys, entry.hash))
            vector.is_asking = True
        else:
            _send_attempts(state, vector, range(count))
        vector.open -= 1
        if not vector.open and not vector.is_asking:  # all members have left already
            forget(state, vector)


# --- answers ----------------------------------------------------------------------------------------------------------


def looked_up(
    state: State, message: messages.LookedUpVector, alone: Callable[[State, messages.LookedUp], None]
) -> None:
    """Take the records that answer plainly, and send the calls for which there are none.

    alone: takes the answer for a job that has left its vector, or leaves it because of this answer.
    """
    vector = state.vectors.get(message.first >> BLOCK_BITS)
    if vector is None or not vector.is_asking:
        return  # it was answered before
    vector.is_asking = False
    found, later = message.found, frozenset(message.later)
    for place in vector.in_state(LEFT):
        if place not in later:
            alone(state, messages.LookedUp(message.at, vector.first + place, found.get(place, ())))
    waiting = [place for place in vector.in_state(LOOKUP) if place not in later]
    missing = [place for place in waiting if place not in found] if found else waiting
    special = _take_records(state, vector, [place for place in waiting if place in found], message) if found else ()
    if missing:
        Members(vector, missing).put(vector.states, bytes([RUNNING]) * len(missing))
        vector.execution.looking -= len(missing)
        _send_attempts(state, vector, missing)
    # Last, because one of them may stop the execution, and then all members leave.
    for place in special:
        alone(state, messages.LookedUp(message.at, vector.first + place, found[place]))
    if not vector.open:
        forget(state, vector)


def _take_records(
    state: State, vector: Vector, places: Sequence[int], message: messages.LookedUpVector
) -> Sequence[int]:
    """Take the plain ones of the records that were found for these members. Gives the other members."""
    special: list[int] = []
    by_how: dict[str, EndedMembers] = {}
    ages = vector.ages
    if ages is None:
        ages = vector.ages = [None] * len(vector.states)
    for place in places:
        candidate = message.found[place][0]
        value = _plain_value(vector, candidate)
        if value is NO_SCALAR:
            special.append(place)
            continue
        how = "shared" if candidate.execution_id == vector.execution.execution_id else "cached"
        ended = by_how.get(how)
        if ended is None:
            ended = by_how[how] = EndedMembers(how, [], [], [])
        ended.add(place, value, candidate.term)
        ages[place] = candidate.at
    for ended in by_how.values():
        vector.execution.looking -= len(ended.places)
        _end(state, vector, ended)
    return special


def _plain_value(vector: Vector, candidate: messages.Candidate) -> Any:
    """The scalar with which a record answers a member of the vector; NO_SCALAR where that needs a decision."""
    execution = vector.execution
    is_foreign = vector.missed is not None and candidate.execution_id != execution.execution_id
    if candidate.kind != SINGLE or not candidate.verdict or is_foreign:
        return NO_SCALAR
    return _scalar_in(candidate.term)


def returned(state: State, message: messages.ReturnedVector, alone: Callable[[State, messages.Returned], None]) -> None:
    """Take what bodies returned. alone: takes the answer for a job that has left its vector."""
    jobs, terms = message.jobs, message.terms
    vector = state.vectors.get(jobs[0] >> BLOCK_BITS)
    chosen: list[int] = []
    values: list[Any] = []
    special: list[int] = []
    for place, number in enumerate(jobs):
        value = _scalar_in(terms[place]) if member_in(state, number, RUNNING) is not None else NO_SCALAR
        if value is NO_SCALAR:
            special.append(place)
        else:
            chosen.append(place)
            values.append(value)
    of_worker = message.node, message.pid, message.environment
    costs = Costs(message.started_at, message.wall_seconds, message.cpu_seconds, message.peaks, *of_worker)
    if chosen:
        assert vector is not None
        vector.execution.tally.count(vector.name, "running", -len(chosen))
        vector.execution.running -= len(chosen)
        places = [jobs[place] - vector.first for place in chosen]
        if special:
            ended = EndedMembers("computed", places, values, [terms[place] for place in chosen], costs.of(chosen))
        else:
            ended = EndedMembers("computed", places, values, list(terms), costs)
        _end(state, vector, ended)
        if not vector.open and not vector.is_asking:
            forget(state, vector)
    # Last, because one of them may stop the execution, and then all members leave.
    for place in special:
        alone(state, messages.Returned(message.at, jobs[place], 1, terms[place], costs.one(place)))


NO_SCALAR = object()


def _scalar_in(packed: bytes) -> Any:
    """The scalar that a packed term is; NO_SCALAR for any other term, for a long one and for one that is damaged."""
    if len(packed) > MOST_BYTES or packed[:1] != PICKLED:
        return NO_SCALAR
    try:
        value = loads(packed)
    except ValueError:
        return NO_SCALAR
    return value if type(value) in SCALARS else NO_SCALAR


def _send_attempts(state: State, vector: Vector, places: Sequence[int]) -> None:
    """Send the first attempts of these members. They are RUNNING already, or have left while they were."""
    execution = vector.execution
    execution.tally.count(vector.name, "running", len(places))
    execution.running += len(places)
    first, members = vector.first, Members(vector, places)
    vector.sent_at = state.now
    state.out.append(
        commands.RunVector(
            execution_id=execution.execution_id,
            entry=vector.entry,
            options=vector.options,
            jobs=[first + place for place in places],
            job_ids=members.of(vector.job_ids),
            names=vector.names,
            arguments=members.of(vector.arguments),
        )
    )


def _end(state: State, vector: Vector, ended: EndedMembers) -> None:
    """These members are done: record them, and give their values to the container."""
    execution, count = vector.execution, len(ended.places)
    rows, columns = record_ended(vector, ended, state.now)
    tally = execution.tally
    if execution.ledger is not None:
        pinned = vector_rows(vector, ended.places, state.now)
        if pinned:
            state.out.append(commands.Record(tuple(pinned)))
    if vector.is_recorded:
        state.out.append(commands.Record(rows, columns))
        tally.totals["recorded"] += count
    tally.totals[ended.how] += count
    tally.count(vector.name, "open", -count)
    tally.count(vector.name, ended.how, count)
    execution.in_flight -= count
    vector.open -= count
    cell = vector.cell
    if cell.settled:
        return
    source = (vector,)
    positions, values, sources = vector.positions, cell.values, cell.sources
    for place, value in zip(ended.places, ended.values, strict=True):
        position = positions[place]
        values[position] = value
        sources[position] = source
    # The last one goes the way of all outcomes: perhaps the container is whole now.
    cell.missing -= count - 1
    state.fills.append((cell, position, value, source))
