"""The reach of a function: all definitions that it uses inside the user's project, and one digest over them.

In: a live function, the project's border, a way to tell tasks. Out: `CodeIdentity`. Never: runs the function,
guesses: look-ups that cannot be followed are listed. Modules of the project that a body imports are imported.

The reach is a graph: definitions, and edges that carry the text by which one names the other. The digest is taken over
the graph in the order in which it is met, so it holds no module names and no places: moving a definition changes
nothing as long as the code that uses it reads the same. The reach stops at other tasks and at libraries, which count by
their names. It is a worklist: definitions may refer to each other in any circle.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from rayflow.lang.analysis import (
    MISSING,
    Analysis,
    Surroundings,
    analysis_of_class,
    analysis_of_function,
    around_class,
    around_function,
    is_builtin,
)
from rayflow.lang.annotated import classes_annotated
from rayflow.lang.body_imports import CannotImport, loaded
from rayflow.lang.code_identity import CodeIdentity, Definition, IsTask, Reading
from rayflow.lang.constants import SCALARS, WRAPPED_FUNCTIONS, has_content, is_known_value, shortened, take_apart
from rayflow.lang.live import READ_AS_DATA, attributes_of_class, attributes_of_function, read_as_data
from rayflow.lang.naming import (
    attribute_of,
    contents_of,
    default_of,
    is_dynamic,
    module_name,
    name_of_callable,
    outside_name,
)
from rayflow.lang.origins import Project, constant_line
from rayflow.lang.scopes import BodyImport, Chain
from rayflow.lang.syntax import constant_bytes
from rayflow.values.digests import Digest, digest
from rayflow.values.identity import value_hash

_PATH_LIMIT = 200
"""Paths into a constant are for telling definitions inside it apart; deeper than this many characters they are cut."""


@dataclass(slots=True, eq=False)
class _Node:
    """A function or class that was reached. Its digest and edges are filled in when its turn comes."""

    name: str
    kind: str
    target: Any
    reached_from: str | None
    digest: Digest = b""
    edges: list[bytes] = field(default_factory=list)


class Reach:
    """One walk from one function over all that it reaches.

    project: tells the user's own code. track_helpers: False leaves out what is reached by name. is_task: tells tasks.
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
        self.readings: list[Reading] = []

    def identity(self, function: Callable[..., Any]) -> CodeIdentity:
        """Follow everything, then take the digest over the graph."""
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
        found = tuple(self.definitions), tuple(self.unresolved), tuple(self.readings)
        return CodeIdentity(digest("code", *parts), *found)

    # --- definitions ------------------------------------------------------------------------------------------------

    def _number(self, target: Any, reached_from: str | None) -> int:
        """The number of a function or class in the order met; it joins the worklist the first time."""
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
        """Two products of one factory share a name: the later ones are numbered."""
        count, unique = 1, name
        while unique in self.names:
            count += 1
            unique = f"{name}#{count}"
        self.names.add(unique)
        return unique

    def _define(self, node: _Node, place: str | None, source: str | None) -> None:
        self.definitions.append(Definition(node.name, node.kind, node.digest, node.reached_from, place, source))

    def _follow(self, node: _Node) -> None:
        if isinstance(node.target, type):
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
            self._follow_names(node, analysis, around_function(function))
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
        self._follow_names(node, analysis, around_class(cls))
        self._follow_annotations(node, cls)
        for base in cls.__bases__:
            if self.project.owns_class(base) and self.is_task(base) is None:
                self._own(node, b"base", base)
        for name, value in attributes_of_class(cls, analysis.bound, self.project.owns_class, self._owns_function):
            self._value(node, f"attribute {name}", f"{node.name}.{name}", value)

    def _owns_function(self, function: FunctionType) -> bool:
        return self.project.owns_code(function.__code__, function.__globals__.get("__name__"))

    def _follow_annotations(self, node: _Node, target: FunctionType | type) -> None:
        """Arguments bring their classes along: a method of one is used without being named."""
        for cls in classes_annotated(target):
            if self.project.owns_class(cls) and self.is_task(cls) is None:
                self._own(node, b"annotation", cls)

    def _place(self, analysis: Analysis) -> str | None:
        return self.project.place(analysis.path, analysis.line) if analysis.path is not None else None

    # --- names ------------------------------------------------------------------------------------------------------

    def _follow_names(self, node: _Node, analysis: Analysis, around: Surroundings) -> None:
        names = analysis.names
        for chain in names.strong:
            self._follow_chain(node, chain, around, must_be_there=True)
        for chain in names.weak:
            self._follow_chain(node, chain, around, must_be_there=False)
        for imported in names.imports:
            self._follow_import(node, imported, around.space)
        for dynamic in names.dynamic:
            if is_dynamic(dynamic, around, self.project):
                self._miss(node, f"{dynamic.text} is looked up only when it runs")

    def _follow_chain(self, node: _Node, chain: Chain, around: Surroundings, *, must_be_there: bool) -> None:
        base = around.get(chain[0])
        if base is MISSING:
            if must_be_there and not is_builtin(chain[0]):
                self._miss(node, f"{'.'.join(chain)} is not defined")
            return
        if chain[0] in around.captured and node.kind == "function" and not isinstance(base, ModuleType):
            return  # its value is followed as a captured one
        if chain[0] not in around.captured:
            self.readings.append((around.space, chain[0], base))
        self._follow_attributes(node, base, chain, str(around.space.get("__name__", "?")), must_be_there)

    def _follow_attributes(self, node: _Node, base: Any, chain: Chain, holder: str, must_be_there: bool) -> None:
        """Go through modules of the project to the object meant."""
        used = 1
        while isinstance(base, ModuleType) and self.project.owns_module(base) and used < len(chain):
            holder = base.__name__
            found = attribute_of(base, chain[used])
            if found is MISSING:
                if must_be_there:
                    self._miss(node, f"{'.'.join(chain)} is not defined")
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
        """A name that the body imports: followed inside the project. Of libraries the tree tells the name."""
        name = imported.module
        if imported.level:
            package = space.get("__package__") or str(space.get("__name__", "")).rpartition(".")[0]
            try:
                name = importlib.util.resolve_name("." * imported.level + name, package)
            except ImportError:
                self._miss(node, f"{'.'.join(imported.chain)} is imported from outside its package")
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
            self._miss(node, f"{imported.attribute} is not defined in {name}")
            return
        self._follow_attributes(node, found, imported.chain, name, must_be_there=True)

    def _loaded(self, node: _Node, written: str, name: str) -> ModuleType | None:
        try:
            return loaded(name, self.project)
        except CannotImport as error:
            self._miss(node, f"{written} is imported in the body from {name}, {error}")
            return None

    def _miss(self, node: _Node, what: str) -> None:
        self.unresolved[f"{node.name}: {what}"] = None

    # --- values -----------------------------------------------------------------------------------------------------

    def _value(self, node: _Node, text: str, name: str, value: Any, holder: str | None = None) -> None:
        """Count what a name is bound to: a definition, or a constant with the definitions inside it."""
        edge = text.encode("utf-8", "surrogatepass")
        token = self._definition(node, edge, value)
        if token is not None:
            node.edges.extend([edge + b"\0" + token] if token else ())
            return
        tokens = self._constant(node, text, value)
        found = digest("constant", *tokens)
        node.edges.append(edge + b"\0constant" + found)
        if self.constants.get(name) == found or hasattr(value, "__wrapped__"):
            return
        self.constants[name] = found
        place = self._place_of_constant(holder, name.rpartition(".")[2]) if holder is not None else None
        self.definitions.append(Definition(self._unique(name), "constant", found, node.name, place, shortened(value)))

    def _place_of_constant(self, holder: str, name: str) -> str | None:
        path = getattr(sys.modules.get(holder), "__file__", None)
        line = constant_line(path, name) if path else None
        return self.project.place(path, line) if path and line is not None else None

    def _definition(self, node: _Node, edge: bytes, value: Any) -> bytes | None:
        """What a function, class, module or task counts as: an edge (then empty), a name; None for anything else."""
        if type(value) in SCALARS:
            return None
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
            if self.track_helpers:
                self._look_inside(node, edge, value)
            return outside_name(value.__globals__.get("__name__"), value.__code__.co_qualname)
        if isinstance(value, type):
            if self.project.owns_class(value):
                return self._own(node, edge, value)
            return outside_name(value.__module__, value.__qualname__)
        if isinstance(value, ModuleType):
            if not self.project.owns_module(value):
                return b"module " + value.__name__.encode()
            if self.track_helpers:
                self._miss(node, f"{edge.decode(errors='replace')} is used as a whole module")
            return b"module"
        if isinstance(value, BuiltinFunctionType):
            return outside_name(value.__module__, value.__qualname__)
        if callable(value) and not self.project.owns_class(type(value)) and not hasattr(value, "__wrapped__"):
            short = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
            if isinstance(short, str) and not hasattr(value, "__func__") and not hasattr(type(value), "__origin__"):
                module = getattr(value, "__module__", None) or type(value).__module__
                if not hasattr(value, "__args__") and not any(hasattr(value, each) for each in WRAPPED_FUNCTIONS):
                    return outside_name(module, short)
        return None

    def _own(self, node: _Node, edge: bytes, value: Any) -> bytes:
        if not self.track_helpers:
            return b"name " + str(value.__qualname__).encode()
        number = self._number(value, node.name)
        node.edges.append(edge + b"\0definition %d" % number)
        return b""

    def _look_inside(self, node: _Node, edge: bytes, wrapper: FunctionType) -> None:
        """A library's wrapper around functions of the project: they count, though the wrapper counts by name."""
        waiting: list[tuple[bytes, FunctionType]] = [(edge, wrapper)]
        seen = {id(wrapper)}
        for path, function in waiting:
            inside: list[tuple[str, Any]] = [("wrapped", getattr(function, "__wrapped__", None))]
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
                try:
                    inside.append((name, cell.cell_contents))
                except ValueError:  # not bound yet
                    continue
            registry = getattr(function, "registry", None)  # functools.singledispatch
            if registry is not None and hasattr(registry, "items"):
                found = [(f"for {getattr(of, '__qualname__', of)}", way) for of, way in registry.items()]
                inside.extend(sorted(found, key=lambda pair: pair[0]))
            for name, part in inside:
                if not isinstance(part, FunctionType) or id(part) in seen:
                    continue
                seen.add(id(part))
                below = path + b"." + name.encode()
                if self._owns_function(part):
                    self._own(node, below, part)
                else:
                    waiting.append((below, part))

    def _constant(self, node: _Node, text: str, whole: Any) -> list[bytes]:
        """The content of a value as tokens, parts after their whole; definitions inside it become edges of `node`."""
        tokens: list[bytes] = []
        stack: list[tuple[str | None, Any]] = [(text, whole)]
        on_the_way: set[int] = set()
        is_own = self.project.owns_class
        while stack:
            path, value = stack.pop()
            if path is None:
                on_the_way.discard(value)
                continue
            if type(value) in SCALARS:
                tokens.append(constant_bytes(value))
                continue
            edge = path.encode("utf-8", "surrogatepass")
            token = self._definition(node, edge, value)
            if token is not None:
                tokens.append(b"@" + token)
                continue
            if id(value) in on_the_way:
                tokens.append(b"<again>")
                self._miss(node, f"{path} contains itself")
                continue
            apart = take_apart(value, is_own)
            if apart is None:
                tokens.append(self._leaf(node, path, value))
                continue
            head, parts = apart
            tokens.append(b"<" + head)
            on_the_way.add(id(value))
            stack.append((None, id(value)))
            if len(path) > _PATH_LIMIT:
                path = path[:_PATH_LIMIT] + "..."
            stack.extend((path + step, part) for step, part in reversed(parts))
        return tokens

    def _leaf(self, node: _Node, path: str, value: Any) -> bytes:
        of = type(value)
        name = f"{of.__module__}.{of.__qualname__}"
        if not has_content(value):
            return b"instance " + name.encode()
        if is_known_value(value):
            try:
                return b"value " + value_hash(value)
            except Exception as error:  # whatever the object's own reduction raises: it has no identity
                self._miss(node, f"{path} is a {name}, whose content has no hash ({type(error).__name__})")
                return b"instance " + name.encode()
        self._miss(node, f"{path} is a {name}, whose content is not followed")
        return b"instance " + name.encode()
