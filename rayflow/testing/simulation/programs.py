"""Random programs: tasks as pure functions of symbolic values, and a root term that calls them.

In: a seed. Out: `Program`: definitions by name and a root. Never: a user's function, an evaluator.

A body is a *template*, plain nested tuples that `instantiate` turns into a term around given arguments. Templates are
typed while they are made (a number, a list, a record, a task), so that most of a program works and failures are there
because they were asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any, TypeAlias

from rayflow.lang.operations import SUBRUN
from rayflow.lang.parameters.signatures import KEYWORD_ONLY, POSITIONAL, Parameters
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import content_digest, dumps
from rayflow.lang.terms.expressions import Form, Operation, Quoted, TaskCall, TaskRef, Term
from rayflow.testing.simulation.program_forms import JOIN, RECOVERS, by_catch, number_by_form
from rayflow.values.digests import digest
from rayflow.values.failures import Failure

Template: TypeAlias = tuple[Any, ...]
"""(kind, ...): see `instantiate` for the kinds."""

ERRORS = {
    "ValueError": ("builtins.ValueError", "builtins.Exception", "builtins.BaseException"),
    "KeyError": ("builtins.KeyError", "builtins.LookupError", "builtins.Exception", "builtins.BaseException"),
    "RuntimeError": ("builtins.RuntimeError", "builtins.Exception", "builtins.BaseException"),
}
"""Errors that tasks raise, with the classes that `catch` matches on."""

HELPERS = ("lab.double", JOIN, *RECOVERS)
"""Tasks that are always there: one to be passed as a value, one to join threads, two to recover with."""


class SimulatedError(Exception):
    """Raised by a body; carries the failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.summary)
        self.failure = failure


@dataclass(frozen=True)
class SimulatedTask:
    """A task: its parameters, with the sort of each, and its body.

    code: the version of its code, a part of its hash. flaky: how many attempts raise before one goes well.
    """

    name: str
    parameters: tuple[tuple[str, str], ...]
    body: Template
    defaults: Mapping[str, Template] = field(default_factory=dict)
    keyword_only: frozenset[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)
    code: int = 1
    flaky: int = 0

    @property
    def hash(self) -> bytes:
        """The task_hash."""
        return digest("random-task", self.name.encode(), str(self.code).encode())

    @property
    def gives_up(self) -> bool:
        """Whether it raises more often than it is tried."""
        retries: int = self.options.get("retries", 0)
        return self.flaky > retries


@dataclass(frozen=True)
class Program:
    """Tasks by name, and the root to evaluate. context: of the run; None if the program uses no contexts."""

    definitions: Mapping[str, SimulatedTask]
    root: Template
    context: Mapping[str, Any] | None = None

    @property
    def has_gaps(self) -> bool:
        """Whether nothing is recorded below some of its calls."""
        return any(each.options.get("prov") is False for each in self.definitions.values())

    def root_term(self) -> Term:
        """The root as a term, with new expressions."""
        return instantiate(self.root, {}, self)

    def table(self) -> dict[str, TaskEntry]:
        """The task table."""
        return {name: self._entry(definition) for name, definition in self.definitions.items()}

    def _entry(self, definition: SimulatedTask) -> TaskEntry:
        names = tuple(name for name, _ in definition.parameters)
        kinds = tuple(KEYWORD_ONLY if name in definition.keyword_only else POSITIONAL for name in names)
        defaults = {name: instantiate(value, {}, self) for name, value in definition.defaults.items()}
        return TaskEntry(
            name=definition.name,
            hash=definition.hash,
            parameters=Parameters(names, kinds, frozenset(defaults)),
            defaults=dumps(defaults) if defaults else None,
            options=dict(definition.options),
            qualname=definition.name,
        )

    def run_body(self, name: str, arguments: Mapping[str, Term]) -> Term:
        """The result of the task's body. Raises SimulatedError."""
        return instantiate(self.definitions[name].body, arguments, self)

    def changed(self, random: Random) -> Program:
        """The same program with some of its tasks edited."""
        definitions = dict(self.definitions)
        names = sorted(definitions.keys() - {SUBRUN})
        for name in random.sample(names, k=min(len(names), random.randint(1, 2))):
            old = definitions[name]
            body = old.body if random.random() < 0.4 else _edited(old.body, random)
            definitions[name] = replace(old, body=body, code=old.code + 1)
        return replace(self, definitions=definitions)


def task_failure(type_name: str, message: str) -> Failure:
    """The failure of a body that raises, kept as an object by its (pretended) pickle."""
    classes = ERRORS[type_name]
    return Failure(
        classes[0], classes, message, digest("random-error", type_name.encode(), message.encode()), message.encode()
    )


# --- from template to term --------------------------------------------------------------------------------------------


def instantiate(template: Template, arguments: Mapping[str, Term], program: Program) -> Term:
    """The term that a template gives around these arguments. Raises SimulatedError where the template says so.

    Templates are made a few levels deep, so plain recursion does.
    """
    return _instantiate(template, arguments, program, {})


def _instantiate(template: Template, arguments: Mapping[str, Term], program: Program, shared: dict[int, Term]) -> Term:
    def make(inner: Template) -> Term:
        return _instantiate(inner, arguments, program, shared)

    match template:
        case ("value", value):
            return value
        case ("argument", name):
            return arguments[name]
        case ("one less", name, most):
            # For recursion: a number that is sure to come down to 0.
            return max(0, min(int(arguments[name]), most) - 1)
        case ("branch", name, then, otherwise):
            return make(then if int(arguments[name]) > 0 else otherwise)
        case ("call", name, positional, named, options):
            kwargs = {key: make(inner) for key, inner in named}
            return TaskCall(name, tuple([make(inner) for inner in positional]), kwargs or None, options or None)
        case ("operation", name, inner):
            return Operation(name, tuple([make(each) for each in inner]))
        case ("apply", function, inner):
            return Operation("call", (make(function), tuple([make(each) for each in inner]), {}))
        case ("list", inner):
            return [make(each) for each in inner]
        case ("tuple", inner):
            return tuple([make(each) for each in inner])
        case ("dict", items):
            return {key: make(inner) for key, inner in items}
        case ("form", name, inner):
            return Form(name, tuple([make(each) for each in inner]))
        case ("context", path, otherwise):
            return Form("get_context", (path, make(otherwise)))
        case ("task", name):
            return TaskRef(name, program.definitions[name].hash)
        case ("shared", number, inner):
            if number not in shared:
                shared[number] = make(inner)
            return shared[number]
        case ("quote", inner):
            quoted = make(inner)
            return Quoted(quoted, content_digest(quoted))
        case ("fork", thread):
            return Form("fork_thread", (TaskCall(JOIN, (make(thread),)),))
        case ("released", name):
            return arguments[name]._term
        case ("raise", type_name, message):
            raise SimulatedError(task_failure(type_name, message))
    raise AssertionError(f"no such template: {template!r}")


# --- making templates -------------------------------------------------------------------------------------------------

def random_program(random: Random) -> Program:
    """Make a program of a few tasks."""
    names = [f"lab.t{number}" for number in range(random.randint(3, 8))]
    definitions: dict[str, SimulatedTask] = {}
    for name in [*HELPERS, *reversed(names)]:
        maker = Maker(random, dict(definitions), name)
        definitions[name] = maker.definition()
    maker = Maker(random, definitions, None)
    sort = random.choice(("call", "call", "number", "list", "list", "record"))
    return Program(definitions, maker.call(3) if sort == "call" else maker.term(sort, 4))


class Maker:
    """Makes the body of one task, or the root, from the tasks that were made before. parameters: names and sorts."""

    def __init__(self, random: Random, known: Mapping[str, SimulatedTask], name: str | None) -> None:
        self.random = random
        self.known = known
        self.name = name
        self.parameters: list[tuple[str, str]] = []
        self.in_default = False
        self.numbers = 0

    def definition(self) -> SimulatedTask:
        """The task of this name."""
        random, name = self.random, self.name
        assert name is not None
        options: dict[str, Any] = {}
        if random.random() < 0.25:
            options.update(random.choice(({"cache": False}, {"cache_scope": "NONE"}, {"check_valid": "shallow"})))
        if random.random() < 0.25:
            options["limits"] = random.choice(({"db": 1}, {"db": 2}, ["gpu"], {"db": 1, "gpu": 1}, {"huge": 7}))
        if random.random() < 0.15:
            options["priority"] = random.randint(-2, 2)
        flaky = 0
        if random.random() < 0.15:
            options.update(retries=random.randint(1, 3), retry_delay=random.choice((0.0, 0.5, 10.0)))
            flaky = random.randint(1, options["retries"] + (random.random() < 0.2))
        if name == "lab.double":
            double: Template = ("operation", "add", (("argument", "x"), ("argument", "x")))
            return SimulatedTask(name, (("x", "number"),), double, options=options, flaky=flaky)
        if name == JOIN:
            return SimulatedTask(name, (("thread", "thread"),), ("released", "thread"))
        if name in RECOVERS:
            self.parameters = [("error", "error")]
            body = self.term("number", 1) if random.random() < 0.8 else self.failing()
            return SimulatedTask(name, (("error", "error"),), body, options=options, flaky=flaky)
        sorts = random.choices(("number", "number", "number", "list", "task"), k=random.randint(0, 3))
        self.parameters = [(f"p{number}", sort) for number, sort in enumerate(sorts)]
        defaults: dict[str, Template] = {}
        keyword_only: frozenset[str] = frozenset()
        if sorts and sorts[-1] == "number" and random.random() < 0.3:
            last = self.parameters[-1][0]
            outer, self.parameters, self.in_default = self.parameters, [], True
            defaults[last] = self.term("number", 1)
            self.parameters, self.in_default = outer, False
            keyword_only = frozenset({last}) if random.random() < 0.5 else frozenset()
        body = self.body()
        return SimulatedTask(name, tuple(self.parameters), body, defaults, keyword_only, options, flaky=flaky)

    def body(self) -> Template:
        """A body that gives a number, if it does not raise."""
        random = self.random
        roll = random.random()
        if roll < 0.07:
            return self.failing()
        numbers = self._parameters_of("number")
        if numbers and roll < 0.25:
            return ("branch", random.choice(numbers), self.term("number", 3), self.failing())
        if numbers and roll < 0.45:
            counter = random.choice(numbers)
            down = self._recursion(counter)
            again: Template = ("operation", "add", (down, self.term("number", 2)))
            if random.random() < 0.3:
                again = ("operation", "add", (down, down))  # equal calls that are two expressions
            return ("branch", counter, again, self.term("number", 1))
        return self.term("number", random.randint(1, 4))

    def _recursion(self, counter: str) -> Template:
        assert self.name is not None
        arguments = tuple(
            ("one less", name, 3) if name == counter else ("argument", name) for name, _ in self.parameters
        )
        named = tuple((name, value) for (name, _), value in zip(self.parameters, arguments, strict=True))
        return ("call", self.name, (), named, None)

    def failing(self) -> Template:
        """A body that raises."""
        return ("raise", self.random.choice(sorted(ERRORS)), f"no {self.random.randint(0, 2)}")

    def term(self, sort: str, depth: int) -> Template:
        """A template of this sort, so many levels deep at most."""
        random = self.random
        if sort == "task":
            return self._task()
        if sort == "list":
            parts = tuple(self.term("number", depth - 1) for _ in range(random.randint(1, 4)))
            if random.random() < 0.3:
                return ("form", "seq", parts)
            return ("list", parts)
        if sort == "record":
            return ("dict", tuple((key, self.term("number", depth - 1)) for key in ("a", "b")[: random.randint(1, 2)]))
        makers = [self._leaf]
        if depth > 0:
            makers += [self._operation, self.call, self.call, self.call, self._cond, self._item]
            makers += [partial(by_catch, self), *[partial(number_by_form, self)] * 2]
            makers += [] if self.in_default else [self._again, self._again_list]
        return random.choice(makers)(depth)

    def _parameters_of(self, sort: str) -> list[str]:
        return [name for name, each in self.parameters if each == sort]

    def _leaf(self, depth: int) -> Template:
        numbers = self._parameters_of("number")
        if numbers and self.random.random() < 0.6:
            return ("argument", self.random.choice(numbers))
        lists = self._parameters_of("list")
        if lists and self.random.random() < 0.5:
            return ("operation", "getitem", (("argument", self.random.choice(lists)), ("value", 0)))
        return ("value", self.random.choice((0, 1, 2, 3, 1, 2, True, 2.5)))

    def _operation(self, depth: int) -> Template:
        first, second = self.term("number", depth - 1), self.term("number", depth - 1)
        roll = self.random.random()
        if roll < 0.05:
            return ("operation", "floordiv", (first, ("value", 0)))
        if roll < 0.25:
            # Not cheap enough for the scheduler, so it goes out.
            return ("operation", "pow", (("operation", "mod", (first, ("value", 7))), ("value", 2)))
        small: Template = ("operation", "mod", (second, ("value", 9)))
        return ("operation", self.random.choice(("add", "sub", "mul")), (first, small))

    def _task(self) -> Template:
        given = self._parameters_of("task")
        if given and self.random.random() < 0.6:
            return ("argument", self.random.choice(given))
        fitting = [
            name
            for name, definition in self.known.items()
            if [sort for parameter, sort in definition.parameters if parameter not in definition.defaults] == ["number"]
            and not (definition.keyword_only - set(definition.defaults))
        ]
        return ("task", self.random.choice(sorted(fitting)))

    def call(self, depth: int) -> Template:
        """A call that gives a number."""
        random = self.random
        given = self._parameters_of("task")
        if given and random.random() < 0.3:
            return ("apply", ("argument", random.choice(given)), (self.term("number", depth - 1),))
        names = sorted(name for name in self.known if name not in HELPERS)
        if not names:
            return self._leaf(depth)
        definition = self.known[random.choice(names)]
        positional: list[Template] = []
        named: list[tuple[str, Template]] = []
        for parameter, sort in definition.parameters:
            if parameter in definition.defaults and random.random() < 0.5:
                continue
            value = self.term(sort, depth - 1)
            if parameter in definition.keyword_only or named or random.random() < 0.2:
                named.append((parameter, value))
            else:
                positional.append(value)
        options = random.choice((None, None, None, {"priority": 3}, {"tags": {"k": "v"}}))
        return ("call", definition.name, tuple(positional), tuple(named), options)

    def _cond(self, depth: int) -> Template:
        question: Template = ("operation", "gt", (self.term("number", depth - 1), ("value", 1)))
        question = ("operation", "truth", (question,))
        arms: tuple[Template, ...] = (question, self.term("number", depth - 1), self.term("number", depth - 1))
        if self.random.random() < 0.3:
            arms = (("value", False), self.term("number", depth - 1), *arms)
        return ("form", "cond", arms)

    def _item(self, depth: int) -> Template:
        count = self.random.randint(1, 3)
        parts = tuple(self.term("number", depth - 1) for _ in range(count))
        kind = self.random.choice(("list", "tuple"))
        inner: Template = (kind, parts) if self.random.random() < 0.7 else ("form", "seq", parts)
        return ("operation", "getitem", (inner, ("value", self.random.randrange(count))))

    def _again(self, depth: int) -> Template:
        """One expression in two places."""
        self.numbers += 1
        inner: Template = ("shared", self.numbers, self.call(depth))
        return ("operation", "add", (inner, ("operation", "mul", (inner, ("value", 2)))))

    def _again_list(self, depth: int) -> Template:
        """One list, with a call in it, in two places."""
        self.numbers += 1
        inner: Template = ("shared", self.numbers, ("list", (self.call(depth - 1), ("value", 1))))
        first: Template = ("operation", "getitem", (inner, ("value", 0)))
        return ("operation", "add", (first, ("operation", "getitem", (inner, ("value", 1)))))


def _edited(template: Template, random: Random) -> Template:
    """The template with one more operation around it, where it gives a number."""
    if template[0] in ("raise",):
        return ("value", random.randint(0, 3)) if random.random() < 0.7 else template
    if template[0] == "awaits":
        _, steps, result, stumble = template
        return ("awaits", steps, _edited(result, random), stumble)
    return ("operation", "add", (template, ("value", 1))) if template[0] != "branch" else template
