"""The code graph of a function: all definitions that it uses inside the user's project, and one digest over them.

In: a live function, the project's border, a function that recognizes tasks. Out: `CodeIdentity`. Never: runs the
function; guesses: it lists the look-ups that it cannot follow. It imports modules of the project that a body imports.

The nodes of the graph are definitions. An edge carries the text by which one definition names another. The digest
covers the graph in the order of the walk, without module names and places: moving a definition changes nothing as long
as the code that uses it reads the same. The walk stops at other tasks and at libraries; the digest has their names.
It is a worklist, so definitions may refer to each other in circles.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import FunctionType, ModuleType
from typing import Any, TypeAlias

from rayflow.lang.code.annotation_classes import classes_annotated
from rayflow.lang.code.body_imports import CannotImport, loaded
from rayflow.lang.code.constants.constants import (
    LITERALS,
    content,
    inside_function,
    is_held,
    is_made,
    is_named,
    shortened,
)
from rayflow.lang.code.constants.statements import Assignments, assignments_of
from rayflow.lang.code.definition import (
    MISSING,
    Analysis,
    NamesAround,
    analysis_of_class,
    analysis_of_function,
    around_class,
    around_function,
    is_builtin,
)
from rayflow.lang.code.free_names import EVALUATORS, BodyImport, Chain, Names, names_of
from rayflow.lang.code.normal_form import normalised
from rayflow.lang.code.object_names import (
    attribute_of,
    contents_of,
    default_of,
    is_dynamic,
    module_name,
    name_of_callable,
    outside_name,
)
from rayflow.lang.code.ray_remotes import ray_remote_in
from rayflow.lang.code.runtime_attributes import READ_AS_DATA, attributes_of_class, attributes_of_function, read_as_data
from rayflow.lang.code.source_files import Project
from rayflow.values.digests import Digest, digest

_STATEMENT = "statement"
"""The kind of a node for the value that a statement assigns to a constant whose content cannot be read."""

_EVALUATING = (eval, exec, globals, __import__, importlib.import_module)


IsTask = Callable[[object], str | None]
"""A function that gives the full name of an object if it is a task, else None."""

Reading: TypeAlias = tuple[Mapping[str, Any], str, Any]
"""One look-up of a name: the namespace, the name, and the object that it was bound to."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One thing that a task's code reaches.

    name: full name, module and qualified name; a captured or default value is `function[name]`.
    kind: its type: 'task', 'function', 'class' or 'constant'; 'distribution' for one whose version counts.
    digest: of this definition alone, 20 bytes.
    reached_from: name of the definition that names it; None for the function itself.
    place: 'path/to/file.py:12', relative to the project; None when there is no file.
    source: source text, or the repr of a constant, shortened.
    """

    name: str
    kind: str
    digest: bytes
    reached_from: str | None
    place: str | None
    source: str | None


@dataclass(frozen=True, slots=True)
class CodeIdentity:
    """The identity of a function's code.

    digest: over the function itself and everything that it reaches.
    definitions: everything that it reaches; the first is the function itself.
    unresolved: text for people about each thing that the walk could not follow. A change of such a thing is not seen.
    missing: text about each name that is not defined. The identity changes when such a name is defined.
    readings: all look-ups of names.
    """

    digest: bytes
    definitions: tuple[Definition, ...]
    unresolved: tuple[str, ...]
    missing: tuple[str, ...] = ()
    readings: tuple[Reading, ...] = field(default=(), compare=False, repr=False)

    def is_valid(self) -> bool:
        """Whether all names are still bound to the same objects. A change inside of an object is not seen."""
        return all(space.get(name) is value for space, name, value in self.readings)


@dataclass(slots=True, eq=False)
class _Node:
    """A function, class or statement in the graph. The walk fills in its digest and edges when it comes to it."""

    name: str
    kind: str
    target: Any
    reached_from: str | None
    digest: Digest = b""
    edges: list[bytes] = field(default_factory=list)


class CodeGraph:
    """One walk from one function over all definitions that it uses.

    project: says which code is the user's. track_helpers: False leaves out definitions that are used by name. is_task:
    says which objects are tasks.
    """

    def __init__(self, project: Project, track_helpers: bool, is_task: IsTask) -> None:
        self.project = project
        self.track_helpers = track_helpers
        self.is_task = is_task
        self.nodes: list[_Node] = []
        self.numbers: dict[int, int] = {}
        self.names: set[str] = set()
        self.definitions: list[Definition] = []
        self.constants: dict[str, Digest] = {}
        self.unresolved: dict[str, None] = {}
        self.missing: dict[str, None] = {}
        self.readings: list[Reading] = []

    def identity(self, function: Callable[..., Any]) -> CodeIdentity:
        """Walk over everything that the function uses, then take the digest over the graph."""
        if isinstance(function, FunctionType):
            self._number(function, None)
        else:
            root = _Node(name_of_callable(function), "function", function, None)
            self.names.add(root.name)
            self.nodes.append(root)
        position = 0
        while position < len(self.nodes):
            self._follow(self.nodes[position])
            position += 1
        parts: list[bytes] = []
        for node in self.nodes:
            parts.append(node.digest)
            parts.append(digest("edges", *node.edges))
        found = tuple(self.definitions), tuple(self.unresolved), tuple(self.missing), tuple(self.readings)
        return CodeIdentity(digest("code", *parts), *found)

    # --- definitions ------------------------------------------------------------------------------------------------

    def _number(self, target: Any, reached_from: str | None) -> int:
        """The number of a function or class in the order of the walk. A new one joins the worklist."""
        known = self.numbers.get(id(target))
        if known is not None:
            return known
        if isinstance(target, type):
            name, kind = f"{module_name(target.__module__)}.{target.__qualname__}", "class"
        else:
            space = target.__globals__
            name, kind = f"{module_name(space.get('__name__', '?'))}.{target.__code__.co_qualname}", "function"
        self.numbers[id(target)] = number = len(self.nodes)
        self.nodes.append(_Node(self._unique(name), kind, target, reached_from))
        return number

    def _unique(self, name: str) -> str:
        """The name, with a number where another node has it: the functions that one factory makes share a name."""
        count, unique = 1, name
        while unique in self.names:
            count += 1
            unique = f"{name}#{count}"
        self.names.add(unique)
        return unique

    def _define(self, node: _Node, place: str | None, source: str | None) -> None:
        self.definitions.append(Definition(node.name, node.kind, node.digest, node.reached_from, place, source))

    def _follow(self, node: _Node) -> None:
        if node.kind == _STATEMENT:
            value, space = node.target
            node.digest = digest("made", normalised(value))
            self._follow_free(node, names_of(value), NamesAround({}, space))
        elif isinstance(node.target, type):
            self._follow_class(node, node.target)
        elif isinstance(node.target, FunctionType):
            self._follow_function(node, node.target)
        else:
            node.digest = digest("callable", type(node.target).__qualname__.encode())
            self._define(node, None, None)
            self._value(node, "", node.name, node.target)

    def _follow_function(self, node: _Node, function: FunctionType) -> None:
        analysis = analysis_of_function(function)
        node.digest = analysis.digest
        self._define(node, self._place(analysis), analysis.source)
        if self.track_helpers:
            self._follow_free(node, analysis.names, around_function(function))
            self._follow_annotations(node, function)
        captured = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for name, cell in sorted(captured, key=lambda pair: pair[0]):
            try:
                content = cell.cell_contents
            except ValueError:  # not bound yet
                continue
            if isinstance(content, ModuleType):
                continue  # followed by the names that are looked up in it
            self._value(node, f"captured {name}", f"{node.name}[{name}]", content)
        for name in analysis.defaults:
            default = default_of(function, name)
            if default is not MISSING:
                self._value(node, f"default {name}", f"{node.name}[{name}]", default)
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None:
            self._value(node, "wrapped", f"{node.name}[__wrapped__]", wrapped)
        for name, value in attributes_of_function(function):
            self._value(node, f"attribute {name}", f"{node.name}.{name}", value)

    def _follow_class(self, node: _Node, cls: type) -> None:
        analysis = analysis_of_class(cls)
        space = vars(cls)
        self.readings.extend((space, name, value) for name, value in space.items() if name[:2] != "__")
        if analysis is None:
            node.digest = digest("class without source", cls.__qualname__.encode())
            self._define(node, None, None)
            for base in cls.__bases__:
                self._value(node, "base", f"{node.name}[base]", base)
            for name, value in contents_of(cls):
                self._value(node, f"attribute {name}", f"{node.name}.{name}", value)
            return
        node.digest = analysis.digest
        self._define(node, self._place(analysis), analysis.source)
        self._follow_free(node, analysis.names, around_class(cls))
        self._follow_annotations(node, cls)
        for base in cls.__bases__:
            if self.project.owns_class(base) and self.is_task(base) is None:
                self._own(node, b"base", base)
        for name, value in attributes_of_class(cls, analysis.bound, self.project.owns_class, self._owns_function):
            # The class's own text shows how an attribute in this text is made.
            self._value(node, f"attribute {name}", f"{node.name}.{name}", value, is_in_text=name in analysis.bound)

    def _owns_function(self, function: FunctionType) -> bool:
        return self.project.owns_code(function.__code__, function.__globals__.get("__name__"))

    def _follow_annotations(self, node: _Node, target: FunctionType | type) -> None:
        """Add the classes of annotations: the function may use methods of its arguments without naming their class."""
        for cls in classes_annotated(target):
            if self.project.owns_class(cls) and self.is_task(cls) is None:
                self._own(node, b"annotation", cls)

    def _place(self, analysis: Analysis) -> str | None:
        return self.project.place(analysis.path, analysis.line) if analysis.path is not None else None

    # --- names ------------------------------------------------------------------------------------------------------

    def _follow_free(self, node: _Node, names: Names, around: NamesAround) -> None:
        for chain in names.strong:
            self._follow_chain(node, chain, around, must_be_there=True)
        for chain in names.weak:
            self._follow_chain(node, chain, around, must_be_there=False)
        for imported in names.imports:
            self._follow_import(node, imported, around.space)
        for dynamic in names.dynamic:
            if is_dynamic(dynamic, around, self.project):
                self._miss(node, f"{dynamic.text} is looked up only when it runs")

    def _follow_chain(self, node: _Node, chain: Chain, around: NamesAround, *, must_be_there: bool) -> None:
        base = around.get(chain[0])
        if base is MISSING:
            if must_be_there and not is_builtin(chain[0]):
                self._lack(node, f"{'.'.join(chain)} is not defined")
            return
        if chain[0] in around.captured and node.kind == "function" and not isinstance(base, ModuleType):
            return  # its value is followed as a captured one
        if chain[0] not in around.captured:
            self.readings.append((around.space, chain[0], base))
        self._follow_attributes(node, base, chain, str(around.space.get("__name__", "?")), must_be_there)

    def _follow_attributes(self, node: _Node, base: Any, chain: Chain, holder: str, must_be_there: bool) -> None:
        """Add the object that a dotted name leads to, through modules of the project."""
        used = 1
        while isinstance(base, ModuleType) and self.project.owns_module(base) and used < len(chain):
            holder = base.__name__
            if chain[used] == "__dict__":
                break
            found = attribute_of(base, chain[used])
            if found is MISSING:
                if must_be_there:
                    self._lack(node, f"{'.'.join(chain)} is not defined")
                return
            self.readings.append((vars(base), chain[used], vars(base).get(chain[used])))
            base, used = found, used + 1
        if chain[used : used + 1] == ("func",) and self.is_task(base) is not None:  # runs as a part of the body
            base, used = base.func, used + 1
        self._value(node, ".".join(chain[:used]), f"{module_name(holder)}.{chain[used - 1]}", base, holder)
        if used == len(chain):
            return
        text = ".".join(chain[: used + 1])
        replaced = vars(base).get(chain[used]) if isinstance(base, ModuleType) else None
        if isinstance(replaced, FunctionType) and self._owns_function(replaced):  # in a library's module
            self._value(node, text, text, replaced)
        if chain[-1] in READ_AS_DATA:
            whole = ".".join(chain)
            self._value(node, whole, f"{module_name(holder)}.{whole}", read_as_data(base, chain[used:]))
        elif chain[used] == "__subclasses__" or (base is sys and chain[used] == "modules"):
            self._miss(node, f"{text} depends on which modules are imported")

    def _follow_import(self, node: _Node, imported: BodyImport, space: dict[str, Any]) -> None:
        """Add what the body imports from the project. (The syntax already has the names of imported libraries.)"""
        name = imported.module
        if imported.level:
            package = space.get("__package__") or str(space.get("__name__", "")).rpartition(".")[0]
            try:
                name = importlib.util.resolve_name("." * imported.level + name, package)
            except ImportError:
                self._lack(node, f"{'.'.join(imported.chain)} is imported from outside its package")
                return
        written = ".".join(imported.chain)
        module = self._loaded(node, written, name)
        if module is None or not self.project.owns_module(module):
            return
        if imported.attribute is None:
            part: ModuleType | None = module
            for step in imported.chain[1:]:  # `import package.late` binds the package alone
                if part is None or attribute_of(part, step) is not MISSING or not hasattr(part, "__path__"):
                    break
                part = self._loaded(node, written, f"{part.__name__}.{step}")
                if part is None:
                    return
            self._follow_attributes(node, module, imported.chain, name, must_be_there=True)
            return
        found = attribute_of(module, imported.attribute)
        if found is MISSING and hasattr(module, "__path__"):
            found = self._loaded(node, written, f"{name}.{imported.attribute}")
            if found is None:
                return
        if found is MISSING:
            self._lack(node, f"{imported.attribute} is not defined in {name}")
            return
        self._follow_attributes(node, found, imported.chain, name, must_be_there=True)

    def _loaded(self, node: _Node, written: str, name: str) -> ModuleType | None:
        try:
            return loaded(name, self.project)
        except CannotImport as error:
            told = f"{written} is imported in the body from {name}, {error}"
            (self._lack if error.is_nowhere else self._miss)(node, told)
            return None

    def _miss(self, node: _Node, what: str) -> None:
        if node.kind != _STATEMENT:  # else the message is about the constant
            self.unresolved[f"{node.name}: {what}"] = None

    def _lack(self, node: _Node, what: str) -> None:
        self.missing[f"{node.name}: {what}"] = None

    # --- values -----------------------------------------------------------------------------------------------------

    def _value(
        self, node: _Node, text: str, name: str, value: Any, holder: str | None = None, *, is_in_text: bool = False
    ) -> None:
        """Add the object that a name is bound to: a definition, or a constant with the definitions inside it."""
        remote = ray_remote_in(value)
        if remote is not None and remote.code is not None:
            if remote.options:
                self._value(node, f"{text} options", f"{name}.options", remote.options)
            value = remote.code
        edge = text.encode("utf-8", "surrogatepass")
        token = self._definition(node, edge, value)
        if token is not None:
            node.edges.extend([edge + b"\0" + token] if token else ())
            return
        tokens, doubts = content(text, value, self.project.owns_class, partial(self._definition, node))
        assigned: Assignments | None = None
        if doubts and holder is not None:
            assigned = assignments_of(value, holder, name.rpartition(".")[2], self.project)
            if assigned.is_outside:  # a library holds it under a name, as it does code
                node.edges.append(edge + b"\0" + outside_name(assigned.module, name.rpartition(".")[2]))
                return
            if assigned.values and self.track_helpers:
                self._assignments(node, edge, name, assigned)
                doubts = [f"{doubt}, so only the statement that makes it counts" for doubt in doubts]
        if isinstance(value, FunctionType) and is_held(value, value.__module__, value.__qualname__):
            is_in_text = True  # the text of a decorated function has its decorator
        for doubt in () if is_in_text else doubts:
            self._miss(node, doubt)
        found = digest("constant", *tokens)
        node.edges.append(edge + b"\0constant" + found)
        if self.constants.get(name) == found or hasattr(value, "__wrapped__"):
            return
        self.constants[name] = found
        if assigned is None and holder is not None:
            assigned = assignments_of(value, holder, name.rpartition(".")[2], self.project)
        place = None
        if assigned and assigned.path and assigned.line:
            place = self.project.place(assigned.path, assigned.line)
        self.definitions.append(Definition(self._unique(name), "constant", found, node.name, place, shortened(value)))

    def _assignments(self, node: _Node, edge: bytes, name: str, assigned: Assignments) -> None:
        """Add the statements that assign a constant whose content cannot be read: their text, and the names in it."""
        for value in assigned.values:
            known = self.numbers.get(id(value))
            if known is None:
                known = self.numbers[id(value)] = len(self.nodes)
                self.nodes.append(_Node(name, _STATEMENT, (value, vars(sys.modules[assigned.module])), node.name))
            node.edges.append(edge + b"\0made %d" % known)

    def _definition(self, node: _Node, edge: bytes, value: Any) -> bytes | None:
        """Bytes that stand for a function, class, module or task: its name, or empty where an edge to a node was added.
        None for anything else."""
        if type(value) in LITERALS:
            return None
        if any(value is each for each in _EVALUATING) and edge.rpartition(b".")[2].decode() not in EVALUATORS:
            self._miss(node, f"{edge.decode(errors='replace')} is Python's {value.__name__}, whatever it is given")
        task_name = self.is_task(value)
        if task_name is not None:
            if self.track_helpers and task_name not in self.names:
                self.names.add(task_name)
                written = digest("task", task_name.encode())
                self.definitions.append(Definition(task_name, "task", written, node.name, None, None))
            return b"task " + task_name.encode() + getattr(value, "bound_identity", bytes)()
        if isinstance(value, FunctionType):
            if self._owns_function(value):
                return self._own(node, edge, value)
            if not self._has_name(value):
                return None
            if self.track_helpers:
                self._look_inside(node, edge, value)
            return outside_name(value.__globals__.get("__name__"), value.__code__.co_qualname)
        if isinstance(value, type):
            if self.project.owns_class(value):
                return self._own(node, edge, value)
            if is_made(value):
                return None
            return outside_name(value.__module__, value.__qualname__)
        if isinstance(value, ModuleType):
            if not self.project.owns_module(value):
                return b"module " + value.__name__.encode()
            if self.track_helpers:
                self._miss(node, f"{edge.decode(errors='replace')} is used as a whole module")
            return b"module"
        if value is sys.modules:
            self._miss(node, f"{edge.decode(errors='replace')} depends on which modules are imported")
            return b"modules"
        if callable(value) and not self.project.owns_class(type(value)) and is_named(value):
            name = getattr(value, "__qualname__", None) or value.__name__
            return outside_name(getattr(value, "__module__", None) or type(value).__module__, name)
        return None

    def _has_name(self, function: FunctionType) -> bool:
        """Whether a library's module has the function under a name. Else a call has made it, maybe with data."""
        code = str(function.__globals__.get("__name__")), function.__code__.co_qualname
        return any(
            is_held(function, module, name) and not self.project.owns_module(sys.modules[module])
            for module, name in (code, (str(function.__module__), function.__qualname__))
        )

    def _own(self, node: _Node, edge: bytes, value: Any) -> bytes:
        if not self.track_helpers:
            return b"name " + str(value.__qualname__).encode()
        number = self._number(value, node.name)
        node.edges.append(edge + b"\0definition %d" % number)
        return b""

    def _look_inside(self, node: _Node, edge: bytes, wrapper: FunctionType) -> None:
        """Add the functions of the project inside a library's wrapper. The wrapper itself stands by its name."""
        waiting: list[tuple[bytes, FunctionType]] = [(edge, wrapper)]
        seen = {id(wrapper)}
        for path, function in waiting:
            for name, part in inside_function(function):
                if not isinstance(part, FunctionType) or id(part) in seen:
                    continue
                seen.add(id(part))
                below = path + b"." + name.encode()
                if self._owns_function(part):
                    self._own(node, below, part)
                else:
                    waiting.append((below, part))
