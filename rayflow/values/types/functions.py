"""Handlers for functions, methods, classes, modules and compiled code: the plain values by which they are hashed.

In: functions, methods, built-in functions, classes, modules. Out: plain values that equal ones have in common. Never:
calls them.

The code reader identifies functions that have source. Without a code reader, a function is hashed by its compiled code,
its defaults and the variables that it closes over.
"""

from __future__ import annotations

import sys
import types
from typing import Any

from rayflow.installation import is_installed
from rayflow.values.objects.handlers import class_path, register, register_predicate
from rayflow.values.process.code_reader import code_reader
from rayflow.values.process.recorded_names import recorded_name


def is_known_by_name(function: types.FunctionType) -> bool:
    """Whether a function belongs to an installed library: then its name identifies it."""
    file = function.__code__.co_filename
    if function.__module__ in sys.builtin_module_names or file.startswith("<frozen"):
        return True
    name = function.__qualname__
    return is_installed(file) and "<locals>" not in name and "<lambda>" not in name


class _FunctionHandler:
    kind = "function"

    def structure(self, value: types.FunctionType) -> tuple[Any, ...]:
        if is_known_by_name(value):
            return ("name", recorded_name(value.__module__), value.__qualname__)
        reader = code_reader()
        if reader is not None:
            return ("identity", reader.function_identity(value))
        return ("code", _code_structure(value))


def _code_structure(function: types.FunctionType) -> tuple[Any, ...]:
    """Code, defaults and closures of a function, and of the functions that it closes over, each once, in order."""
    numbers = {id(function): 0}
    met = [function]
    described: list[Any] = []
    for each in met:
        cells: list[Any] = []
        for name, cell in zip(each.__code__.co_freevars, each.__closure__ or (), strict=True):
            try:
                content = cell.cell_contents
            except ValueError:
                cells.append((name, "empty"))
                continue
            if isinstance(content, types.FunctionType) and not is_known_by_name(content):
                if id(content) not in numbers:
                    numbers[id(content)] = len(met)
                    met.append(content)
                cells.append((name, "function", numbers[id(content)]))
            else:
                cells.append((name, "value", content))
        described.append(
            (each.__qualname__, _plain_code(each.__code__), each.__defaults__, each.__kwdefaults__, tuple(cells))
        )
    return (sys.version_info[:2], *described)


def _plain_code(code: types.CodeType) -> tuple[Any, ...]:
    """A code object as plain values, without file names and line numbers."""
    described: list[Any] = []
    waiting = [code]
    numbers = {id(code): 0}
    for each in waiting:
        constants: list[Any] = []
        for constant in each.co_consts:
            if isinstance(constant, types.CodeType):
                if id(constant) not in numbers:
                    numbers[id(constant)] = len(waiting)
                    waiting.append(constant)
                constants.append(("code", numbers[id(constant)]))
            else:
                constants.append(("constant", constant))
        described.append(
            (
                each.co_code,
                tuple(constants),
                each.co_names,
                each.co_varnames,
                each.co_freevars,
                each.co_argcount,
                each.co_posonlyargcount,
                each.co_kwonlyargcount,
                each.co_flags,
            )
        )
    return tuple(described)


class _MethodHandler:
    kind = "method"

    def structure(self, value: types.MethodType) -> tuple[Any, ...]:
        return (value.__self__, value.__func__)


class _BuiltinFunctionHandler:
    kind = "builtin_function"

    def structure(self, value: Any) -> tuple[Any, ...]:
        owner = getattr(value, "__self__", None)
        if owner is None or isinstance(owner, types.ModuleType):
            return (getattr(value, "__module__", None) or "", getattr(value, "__qualname__", value.__name__))
        return (owner, value.__name__)


class _DescriptorHandler:
    kind = "method_of_class"

    def structure(self, value: Any) -> tuple[Any, ...]:
        return (value.__objclass__, value.__name__)


class _ClassHandler:
    kind = "class"

    def structure(self, value: type) -> tuple[Any, ...]:
        return (class_path(value),)


class _GenericAliasHandler:
    kind = "generic_alias"

    def structure(self, value: Any) -> tuple[Any, ...]:
        return (value.__origin__, value.__args__)


class _ModuleHandler:
    kind = "module"

    def structure(self, value: types.ModuleType) -> tuple[Any, ...]:
        return (value.__name__,)


class _CodeHandler:
    kind = "code"

    def structure(self, value: types.CodeType) -> tuple[Any, ...]:
        return (sys.version_info[:2], _plain_code(value))


def register_all() -> None:
    """Register the handlers of this module."""
    register(types.FunctionType, _FunctionHandler())
    register(types.MethodType, _MethodHandler())
    register(types.BuiltinFunctionType, _BuiltinFunctionHandler())
    register(types.GenericAlias, _GenericAliasHandler())
    register(types.ModuleType, _ModuleHandler())
    register(types.CodeType, _CodeHandler())
    for descriptor in (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType):
        register(descriptor, _DescriptorHandler())
    register_predicate(lambda of: issubclass(of, type), _ClassHandler())
