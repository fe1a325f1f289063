"""Names and parts of live objects: small look-ups without side effects.

In: modules, classes, functions. Out: names that are equal in every process and version; attributes; defaults.
Never: imports a module.
"""

from __future__ import annotations

import os
import sys
from types import FunctionType, ModuleType
from typing import Any

from rayflow.lang.code.body_imports import is_of_project
from rayflow.lang.code.definition import MISSING, NamesAround, is_builtin
from rayflow.lang.code.free_names import EVALUATORS, LIBRARIES_OF_EVALUATORS, DynamicLookup
from rayflow.lang.code.source_files import Project
from rayflow.values.process.recorded_names import recorded_name

_NOT_CONTENT = frozenset(
    f"__{word}__"
    for word in (
        *("dict", "weakref", "module", "doc", "qualname", "annotations", "firstlineno", "slots", "static_attributes"),
        *("annotations_cache", "annotate", "annotate_func", "match_args", "dataclass_fields", "dataclass_params"),
        *("abstractmethods", "parameters", "orig_bases", "hash", "replace", "slotnames"),
    )
) | {"_abc_impl"}
"""The attributes that Python and its class decorators put into every class."""

_GENERATED = frozenset(f"__{word}__" for word in ("init", "eq", "repr", "lt", "le", "gt", "ge", "setattr", "delattr"))
"""Methods that a dataclass made by a call gets from its fields."""


def contents_of(cls: type) -> list[tuple[str, Any]]:
    """The contents of a class without source: a named tuple's fields, an enum's members, else its attributes."""
    fields = getattr(cls, "_fields", None)
    if issubclass(cls, tuple) and isinstance(fields, tuple):
        return [("_fields", fields), ("_field_defaults", getattr(cls, "_field_defaults", {}))]
    members = getattr(cls, "__members__", None)
    if members is not None:
        return [("members", {name: member.value for name, member in members.items()})]
    dataclass_fields = getattr(cls, "__dataclass_fields__", None)
    found = [(name, value) for name, value in sorted(vars(cls).items()) if name not in _NOT_CONTENT]
    if dataclass_fields is not None:
        found = [(name, value) for name, value in found if name not in _GENERATED]
        found.append(("fields", [(name, each.default_factory) for name, each in dataclass_fields.items()]))
    return [(name, value) for name, value in found if type(value).__name__ not in ("member_descriptor", "_tuplegetter")]


def default_of(function: FunctionType, name: str) -> Any:
    """The default of a function's parameter; MISSING where it has none."""
    if function.__kwdefaults__ and name in function.__kwdefaults__:
        return function.__kwdefaults__[name]
    code = function.__code__
    positional = code.co_varnames[: code.co_argcount]
    defaults = function.__defaults__ or ()
    if name not in positional:
        return MISSING
    position = positional.index(name) - (len(positional) - len(defaults))
    return defaults[position] if position >= 0 else MISSING


def attribute_of(module: ModuleType, name: str) -> Any:
    """A name in a module: bound there, a submodule, or made by the module's own `__getattr__`."""
    space = vars(module)
    if name in space:
        return space[name]
    submodule = sys.modules.get(f"{module.__name__}.{name}")
    if submodule is not None:
        return submodule
    if "__getattr__" in space:
        try:
            return getattr(module, name)
        except Exception:  # the user's own code may raise anything: then the name is not there
            return MISSING
    return MISSING


def module_name(name: str) -> str:
    """A module's name for people: a script has the name that its file has when it is imported."""
    if name == "__main__":
        path: str | None = getattr(sys.modules.get("__main__"), "__file__", None)
        if path:
            return os.path.splitext(os.path.basename(path))[0]
    return name


def name_of_callable(value: Any) -> str:
    """Module and qualified name of a callable; for a callable object, the names of its class."""
    name = getattr(value, "__qualname__", None) or type(value).__qualname__
    return f"{module_name(getattr(value, '__module__', None) or type(value).__module__)}.{name}"


def outside_name(module: Any, qualname: str) -> bytes:
    """The name that represents a library's object in hashes.

    It has no private submodules, since libraries move these between versions.
    """
    parts = recorded_name(str(module or "")).split(".")
    public = parts[:1]
    for part in parts[1:]:
        if part.startswith("_"):
            break
        public.append(part)
    return f"outside {'.'.join(public)}:{qualname}".encode()


def is_dynamic(dynamic: DynamicLookup, around: NamesAround, project: Project) -> bool:
    """Whether a dynamic look-up may find code of the project."""
    if dynamic.module and not is_of_project(dynamic.module, project):
        return False
    found = around.get(dynamic.chain[0])
    if found is MISSING:
        return is_builtin(dynamic.chain[-1]) or dynamic.chain[-1] in EVALUATORS
    for part in dynamic.chain[1:]:
        if not isinstance(found, ModuleType):
            return False
        if found is sys and part == "modules":
            return True
        found = attribute_of(found, part)
    if dynamic.is_getattr:
        return isinstance(found, ModuleType) and project.owns_module(found)
    return str(getattr(found, "__module__", None)).partition(".")[0] in LIBRARIES_OF_EVALUATORS
