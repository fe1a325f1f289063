"""The classes that a definition's annotations name. A body uses their code through its arguments.

In: a live function or class. Out: the classes, in an order that does not depend on the spelling of the annotations.
Never: evaluates text. It leaves out names that are not defined.
"""

from __future__ import annotations

import ast
import typing
from functools import lru_cache
from types import FunctionType, ModuleType
from typing import Annotated, Any, Literal

from rayflow.lang.code.definition import MISSING, NamesAround, around_class, around_function, methods_of
from rayflow.lang.code.free_names import Chain, chain_of
from rayflow.lang.code.object_names import attribute_of


def classes_annotated(target: FunctionType | type) -> list[type]:
    """The classes in the annotations of a function's parameters, or of a class's fields and its methods' parameters."""
    found: dict[int, type] = {}
    if isinstance(target, FunctionType):
        hints = _annotations(target)
        if hints:
            _collect(_of_parameters(hints), around_function(target), found)
    else:
        fields = _annotations(target)
        if fields:
            _collect(list(fields.values()), around_class(target), found)
        for method in methods_of(target):
            hints = _annotations(method)
            if hints:
                _collect(_of_parameters(hints), around_function(method), found)
        found.pop(id(target), None)
    return sorted(found.values(), key=lambda each: each.__qualname__)


def _of_parameters(hints: dict[str, Any]) -> list[Any]:
    return [hint for name, hint in hints.items() if name != "return"]


def _annotations(target: FunctionType | type) -> dict[str, Any]:
    try:
        space = target.__annotations__ if isinstance(target, FunctionType) else vars(target).get("__annotations__")
    except Exception:  # from Python 3.14 on they are computed on request, and may use unknown names
        return {}
    return space if isinstance(space, dict) else {}


def _collect(hints: list[Any], around: NamesAround, found: dict[int, type]) -> None:
    waiting = hints
    seen: set[Any] = set()
    kept: list[Any] = []  # so that no id is given twice
    for hint in waiting:
        if isinstance(hint, typing.ForwardRef):
            hint = hint.__forward_arg__
        key = hint if isinstance(hint, str) else id(hint)
        if key in seen:
            continue
        seen.add(key)
        kept.append(hint)
        if isinstance(hint, str):
            waiting.extend(_meant(chain, around) for chain in _chains_of(hint))
        elif isinstance(hint, (list, tuple)):
            waiting.extend(hint)
        elif typing.get_origin(hint) is Annotated:
            waiting.append(hint.__origin__)
        elif typing.get_origin(hint) is Literal:
            continue
        elif typing.get_origin(hint) is not None:
            waiting.append(typing.get_origin(hint))
            waiting.extend(typing.get_args(hint))
        elif isinstance(hint, type):
            found.setdefault(id(hint), hint)
        elif isinstance(hint, typing.NewType):
            waiting.append(hint.__supertype__)
        elif isinstance(hint, typing.TypeVar):
            waiting.extend((hint.__bound__, *hint.__constraints__))
        elif type(hint).__name__ == "TypeAliasType":
            try:
                waiting.append(hint.__value__)
            except Exception:  # computed on request: it may use an unknown name
                continue


def _meant(chain: Chain, around: NamesAround) -> Any:
    """The object that a dotted name in an annotation is bound to; None if it is not bound."""
    found = around.get(chain[0])
    for part in chain[1:]:
        if isinstance(found, ModuleType):
            found = attribute_of(found, part)
        elif isinstance(found, type):
            found = next((vars(base)[part] for base in found.__mro__ if part in vars(base)), MISSING)
        else:
            return None
    return None if found is MISSING else found


@lru_cache(maxsize=4096)
def _chains_of(text: str) -> tuple[Chain, ...]:
    """The dotted names in an annotation that is written as text."""
    chains: list[Chain] = []
    texts = [text]
    for each in texts:
        try:
            nodes: list[ast.AST] = [ast.parse(each.strip(), mode="eval").body]
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in nodes:
            chain = chain_of(node)
            if chain is not None:
                chains.append(chain)
            elif isinstance(node, ast.Constant):
                if isinstance(node.value, str) and len(node.value) < len(each):
                    texts.append(node.value)
            elif isinstance(node, ast.Subscript):
                name = (chain_of(node.value) or ("",))[-1]
                nodes.append(node.value)
                if name == "Annotated" and isinstance(node.slice, ast.Tuple):
                    nodes.append(node.slice.elts[0])
                elif name != "Literal":
                    nodes.append(node.slice)
            else:
                nodes.extend(ast.iter_child_nodes(node))
    return tuple(chains)
