"""The oracle: finds the meaning of a program, by plain recursion over its terms.

In: a program, and the remembered results of earlier executions. Out: `Meaning`: the root's outcome, every call with its
caller, and how often each body runs. Never: asks the evaluator; depends on time, workers or the order of answers.

The oracle follows the rules of the language, and not the code that it judges. Each part of a term is reduced, even if
another part fails. Of several failures the first by position counts. Equal calls are made once, unless the options of
their task forbid that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from rayflow.evaluator.inheritance import Inherited
from rayflow.lang.operations import SUBRUN, TABLE, call_task, refuse_thunks
from rayflow.lang.options.options import merge_context
from rayflow.lang.terms.expressions import Expression, Form, Operation, Quoted, TaskCall, TaskRef, Term
from rayflow.testing.simulation.normal_forms import FLAKY, ErrorValue, Wrong, normal, wrong_by, wrong_of
from rayflow.testing.simulation.program_awaits import AwaitedFailed, does_await, entered
from rayflow.testing.simulation.programs import Program, SimulatedError, SimulatedTask, instantiate

Key: TypeAlias = tuple[Any, ...]
"""A call's identity for the oracle: (task, its hash, arguments in a normal form)."""


class KnownReduction(NamedTuple):
    """A reduction in the store.

    tasks: name and hash of the tasks that its term contains as values. below: the hashes of all tasks below it, if it
    is the value of a body that has awaited. read: the context paths that were read there, with the identities of the
    values.
    """

    tasks: frozenset[tuple[str, bytes]]
    below: frozenset[bytes] | None = None
    read: Mapping[str, bytes] | None = None


Remembered: TypeAlias = Mapping[Key, Iterable[KnownReduction]]
"""For each call the reductions that were kept."""

DURABLE = frozenset({"sleep", "event", "first", "any_of", "within", "finally_"})
"""The forms of program_effects.py."""

ROOT: Key = ("<expression>",)
"""The root job of a term that is not a task call."""


class TooLarge(Exception):
    """The program makes more calls than were allowed."""


@dataclass
class Meaning:
    """The expected end of an execution of a program.

    outcome: the root's value in normal form, or Wrong.
    jobs: how often each (caller, callee, ended well) is there; the key of a call whose arguments failed is its task.
    runs: how often each body runs. cached: how often a remembered result answers each call.
    returned: the calls whose body gave a term. is_spread: whether several evaluations make equal calls. Then
    one of them may find the records of another. effects: how often each effect is made at least. perhaps: how often
    more, if races decide so.
    """

    outcome: Any = None
    jobs: Counter[tuple[Key | None, Key, bool]] = field(default_factory=Counter)
    runs: Counter[Key] = field(default_factory=Counter)
    cached: Counter[Key] = field(default_factory=Counter)
    returned: set[Key] = field(default_factory=set)
    is_spread: bool = False
    effects: Counter[Key] = field(default_factory=Counter)
    perhaps: Counter[Key] = field(default_factory=Counter)

    @property
    def size(self) -> int:
        """How many jobs there are."""
        return self.jobs.total()


def meaning_of(
    program: Program, remembered: Remembered | None = None, *, cache: bool = True, most_calls: int = 10_000
) -> Meaning:
    """The meaning of a program. Raises TooLarge if it makes more than `most_calls` calls."""
    reader = _MeaningReader(program, remembered or {}, cache, most_calls)
    meaning = reader.meaning
    meaning.outcome = normal(reader.root(program.root_term(), program.context or {}, None))
    for caller, callee, well in reader.jobs:
        assert callee.key is not None
        meaning.jobs[caller.key if caller else None, callee.key, well] += 1
    return meaning


class _MeaningScope:
    """A call whose term is read now: its key, its context, and the outcome of each expression object in its term."""

    __slots__ = ("context", "key", "memo")

    def __init__(self, context: Mapping[str, Any]) -> None:
        self.key: Key | None = None
        self.context = context
        self.memo: dict[int, tuple[Expression, Any]] = {}


class _MeaningReader:
    def __init__(self, program: Program, remembered: Remembered, cache: bool, most_calls: int) -> None:
        self.program = program
        self.table = program.table()
        self.remembered = remembered
        self.cache = cache
        self.most_calls = most_calls
        self.meaning = Meaning()
        self.shared: dict[tuple[Key, Any], Any] = {}
        self.made: set[Key] = set()
        self.jobs: list[tuple[_MeaningScope | None, _MeaningScope, bool]] = []
        self.is_clean = True
        self.is_fleeting = False
        self.evaluation = self.evaluations = 0
        self.places: dict[Key, int] = {}
        self.met_durable = False
        self.in_race = False

    def root(self, term: Term, context: Mapping[str, Any], above: _MeaningScope | None) -> Any:
        """The outcome of an evaluation's root. above: the call whose body the evaluation is."""
        scope = _MeaningScope(context)
        if type(term) is TaskCall:
            return self.call(term, scope, is_root=True, above=above)
        scope.key = ROOT
        outcome = self.evaluate(term, scope)
        self.jobs.append((above, scope, not isinstance(outcome, Wrong)))
        return outcome

    def evaluate(self, term: Term, scope: _MeaningScope) -> Any:
        """The value of a term, or Wrong."""
        if isinstance(term, Quoted):
            return term
        if isinstance(term, Expression):
            known = scope.memo.get(id(term))
            if known is None:
                # The expression is kept with its outcome, so that its id stays its own.
                known = scope.memo[id(term)] = (term, self._expression(term, scope))
            return known[1]
        if type(term) in (list, tuple):
            values = self._all(term, scope)
            return values if isinstance(values, Wrong) else type(term)(values)
        if type(term) is dict:
            values = self._all([side for item in term.items() for side in item], scope)
            return values if isinstance(values, Wrong) else dict(zip(values[::2], values[1::2], strict=True))
        return term

    def _all(self, terms: Iterable[Term], scope: _MeaningScope) -> Any:
        """All values, or the first Wrong by position; every term is evaluated."""
        values = [self.evaluate(term, scope) for term in terms]
        return next((value for value in values if isinstance(value, Wrong)), values)

    def _expression(self, term: Expression, scope: _MeaningScope) -> Any:
        if isinstance(term, TaskCall):
            return self.call(term, scope)
        if isinstance(term, Operation):
            values = self._all(term._args, scope)
            return values if isinstance(values, Wrong) else self._operate(term._name, values, scope)
        assert isinstance(term, Form)
        if term._name == "cond":
            return self._cond(term._args, scope)
        if term._name == "get_context":
            path, otherwise = term._args
            return self.evaluate(_behind(path, scope.context, otherwise), scope)
        if term._name == "catch":
            return self._catch(term._args, scope)
        if term._name in DURABLE:
            return self._durable(term, scope)
        if term._name == "fork_thread":
            (join,) = term._args
            self.is_clean = False
            self.evaluate(join, scope)
            return join._args[0]
        if term._name == "apply_tags":
            values = self._all(term._args, scope)
            return values if isinstance(values, Wrong) else values[0]
        if term._name == "own":
            return self._own(term._args[0], term._args[1], scope)
        if term._name == "catch_all":
            return self._catch_all(term._args, scope)
        if term._name in ("map_", "starmap"):
            return self._mapped(term._name, term._args, scope)
        assert term._name == "seq"
        values = []
        for step in term._args:
            value = self.evaluate(step, scope)
            if isinstance(value, Wrong):
                return value
            values.append(value)
        return values

    def _durable(self, form: Form, scope: _MeaningScope) -> Any:
        """A wait, a race or a clean-up of program_effects.py."""
        self.met_durable = True
        if form._name == "sleep":
            return None
        if form._name == "event":
            return int(form._args[0][1:])
        if form._name == "finally_":
            outcome, cleaned = (self.evaluate(each, scope) for each in form._args)
            return cleaned if isinstance(cleaned, Wrong) else outcome
        outer, self.in_race = self.in_race, True
        for branch in form._args:
            self.evaluate(branch, scope)
        self.in_race = outer
        return 0  # nothing uses the value

    def _own(self, rule: str, args: tuple[Quoted, ...], scope: _MeaningScope) -> Any:
        """The meaning of a form with a rule of program_forms.py."""
        outcomes: list[Any] = []
        for quoted in args:
            outcomes.append(self.evaluate(quoted._term, scope))
            if rule == "first_good" and not isinstance(outcomes[-1], Wrong):
                return outcomes[-1]
        if rule == "first_good":
            return outcomes[0]
        return next((each for each in reversed(outcomes) if not isinstance(each, Wrong)), outcomes[-1])

    def _catch_all(self, args: tuple[Term, ...], scope: _MeaningScope) -> Any:
        """The form catch_all, for lists of numbers: random programs give it nothing else."""
        values = [self.evaluate(term, scope) for term in args[0]]
        wrongs = [value for value in values if isinstance(value, Wrong)]
        recovers = [_recover_of(wrong, args) for wrong in wrongs]
        for wrong, recover in zip(wrongs, recovers, strict=True):
            if recover is None:
                return wrong
        if not wrongs:
            return values
        told = [ErrorValue(value.summary) if isinstance(value, Wrong) else value for value in values]
        return self._operate("call", [recovers[0], (told,), {}], scope)

    def _mapped(self, name: str, args: tuple[Term, ...], scope: _MeaningScope) -> Any:
        """Make one call for each item. A lazy item belongs to its call, unless it has to be spread into arguments."""
        function, values = args
        task = self.evaluate(function, scope)
        is_open = type(values) is list and (name == "map_" or all(type(each) in (tuple, list) for each in values))
        items = values if is_open else self.evaluate(values, scope)
        for outcome in (task, items):
            if isinstance(outcome, Wrong):
                return outcome
        calls = [call_task(task, (item,) if name == "map_" else tuple(item)) for item in items]
        return self.evaluate(calls, scope)

    def _operate(self, name: str, values: list[Any], scope: _MeaningScope) -> Any:
        try:
            refuse_thunks(name, tuple(values))
            function = call_task if name == "call" and isinstance(values[0], TaskRef) else TABLE[name]
            term = function(*values)
        except Exception as error:  # any error is the meaning of the program
            return wrong_by(error)
        return self.evaluate(term, scope)

    def _cond(self, args: tuple[Term, ...], scope: _MeaningScope) -> Any:
        for question, then in zip(args[:-1:2], args[1::2], strict=True):
            answer = self.evaluate(question, scope)
            if isinstance(answer, Wrong):
                return answer
            if answer:
                return self.evaluate(then, scope)
        return self.evaluate(args[-1], scope)

    def _catch(self, args: tuple[Term, ...], scope: _MeaningScope) -> Any:
        value = self.evaluate(args[0], scope)
        if not isinstance(value, Wrong):
            return value
        recover = _recover_of(value, args)
        if recover is None:
            return value
        return self._operate("call", [recover, (ErrorValue(value.summary),), {}], scope)

    def call(
        self, call: TaskCall, caller: _MeaningScope, is_root: bool = False, above: _MeaningScope | None = None
    ) -> Any:
        """The outcome of a task call made by `caller`. (Calls in the root's arguments are the root's own.)"""
        if len(self.jobs) >= self.most_calls:
            raise TooLarge
        definition = self.program.definitions[call._task]
        self.is_fleeting = self.is_fleeting or _asks_anew(definition)
        given = self.table[call._task].parameters.bind(call._args, call._kwargs)
        context = merge_context(caller.context, (call._options or {}).get("context", {}))
        if is_root:
            caller.context = context
        job = caller if is_root else _MeaningScope(context)
        own = _MeaningScope(context)
        arguments: dict[str, Any] = {}
        for name, _ in definition.parameters:
            if name in given:
                arguments[name] = self.evaluate(given[name], caller)
            else:
                default = instantiate(definition.defaults[name], {}, self.program)
                arguments[name] = self.evaluate(default, caller if context == caller.context else own)
        failed = next((value for value in arguments.values() if isinstance(value, Wrong)), None)
        if failed is not None:
            job.key = (call._task,)
            outcome = failed
        else:
            job.key = (call._task, definition.hash, normal(arguments))
            outcome = self._shared_or_made(definition, arguments, job)
        self.jobs.append((above if is_root else caller, job, not isinstance(outcome, Wrong)))
        return outcome

    def _shared_or_made(self, definition: SimulatedTask, arguments: Mapping[str, Any], job: _MeaningScope) -> Any:
        assert job.key is not None
        if definition.options.get("cache_scope") == "NONE":
            return self._make(definition, arguments, job)
        if definition.options.get("effect"):
            self.met_durable = True
            (self.meaning.perhaps if self.in_race else self.meaning.effects)[job.key] += 1
            return self._make(definition, arguments, job)
        key = job.key, normal(job.context)
        if key in self.shared:
            return self.shared[key]
        outer, self.met_durable = self.met_durable, False
        outcome = self._make(definition, arguments, job)
        if not self.met_durable:
            self.shared[key] = outcome  # else each equal call makes its own effects
        self.met_durable |= outer
        return outcome

    def _make(self, definition: SimulatedTask, arguments: Mapping[str, Any], job: _MeaningScope) -> Any:
        assert job.key is not None
        self.meaning.is_spread |= self.places.setdefault(job.key, self.evaluation) != self.evaluation
        if is_made_whole(definition):
            return self._make_whole(definition, arguments, job)
        if job.key in self.made and definition.options.get("cache_scope") != "NONE":
            pass  # the body has run, under another context
        elif self._is_remembered(definition, job) is not None:
            self.meaning.cached[job.key] += 1
        else:
            self.meaning.runs[job.key] += 1
        self.made.add(job.key)
        if definition.gives_up:
            return wrong_of(FLAKY)
        try:
            term = self.program.run_body(definition.name, arguments)
        except SimulatedError as error:
            return wrong_of(error.failure)
        self.meaning.returned.add(job.key)
        return self.evaluate(term, job)

    def _make_whole(self, definition: SimulatedTask, arguments: Mapping[str, Any], job: _MeaningScope) -> Any:
        """Evaluate a body that awaits or runs a nested execution. Its value is recorded instead of its term.

        Under another context its needs may differ, so it runs there, too.
        """
        assert job.key is not None
        kept = self._is_remembered(definition, job)
        if kept is not None and kept.below is not None:
            # Nothing below it runs again. Only the oracle evaluates it, to know the value.
            quiet = _MeaningReader(self.program, {}, True, self.most_calls)
            outcome = quiet._entered(definition, arguments, job)
            job.memo.clear()
            if quiet.is_clean and not quiet.is_fleeting and all(well for _, _, well in quiet.jobs):
                self.meaning.cached[job.key] += 1
                return outcome
            kept = None  # perhaps it was not recorded
        (self.meaning.runs if kept is None else self.meaning.cached)[job.key] += 1
        return self._entered(definition, arguments, job)

    def _entered(self, definition: SimulatedTask, arguments: Mapping[str, Any], job: _MeaningScope) -> Any:
        assert job.key is not None
        if definition.name == SUBRUN:
            return self._evaluated(arguments["thunk"]._term, job)
        body = entered(self.program, definition.name, arguments, Wrong, partial(_stumble, definition))
        try:
            asked = next(body)
            while True:
                asked = body.send({key: self.evaluate(term, job) for key, term in asked.items()})
        except StopIteration as end:
            self.meaning.returned.add(job.key)
            return self.evaluate(end.value, job)
        except AwaitedFailed as passed_on:
            return passed_on.outcome
        except SimulatedError as error:
            return wrong_of(error.failure)

    def _evaluated(self, term: Term, job: _MeaningScope) -> Any:
        """Evaluate a nested execution. It shares no calls with the one around it: an equal call is made in both."""
        assert job.key is not None
        outer = self.shared, self.made, self.evaluation
        self.evaluations += 1
        self.shared, self.made, self.evaluation = {}, set(), self.evaluations
        outcome = self.root(term, job.context, job)
        self.shared, self.made, self.evaluation = outer
        if not isinstance(outcome, Wrong):
            self.meaning.returned.add(job.key)
        return outcome

    def _is_remembered(self, definition: SimulatedTask, job: _MeaningScope) -> KnownReduction | None:
        assert job.key is not None
        if not self.cache or _asks_anew(definition):
            return None
        tasks = {(name, each.hash) for name, each in self.program.definitions.items()}
        hashes = {each.hash for each in self.program.definitions.values()}
        for kept in self.remembered.get(job.key, ()):
            is_current = kept.tasks <= tasks and (kept.below is None or kept.below <= hashes)
            if is_current and (kept.read is None or Inherited(job.context).agrees(kept.read)):
                return kept
        return None


def is_made_whole(definition: SimulatedTask) -> bool:
    """Whether the body of a task gives a value and not a term: it awaits, or is a nested execution."""
    return does_await(definition) or definition.name == SUBRUN


def _asks_anew(definition: SimulatedTask) -> bool:
    """Whether later executions must make a call of this task again."""
    return definition.options.get("cache") is False or definition.options.get("cache_scope") in ("NONE", "CSE")


def _behind(path: str, context: Mapping[str, Any], otherwise: Term) -> Term:
    found: Any = context
    for name in path.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return otherwise
        found = found[name]
    return found


def _stumble(definition: SimulatedTask) -> None:
    if definition.gives_up:
        raise SimulatedError(FLAKY)


def _recover_of(wrong: Wrong, args: tuple[Term, ...]) -> Term | None:
    for names, recover in zip(args[1::2], args[2::2], strict=True):
        if set(names) & set(wrong.classes):
            return recover
    return None
