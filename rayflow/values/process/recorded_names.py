"""Recorded names: how stores name the modules and classes of this package, which may have been moved or renamed since.

In: a name of today, or a recorded one. Out: the other one. Never: imports anything.

Hashes, kinds and pickles in a store hold names of our modules. To move a module whose classes or functions stand in a
pickle or a hash, add its old name to RECORDED. To rename such a class, add it to RECORDED_CLASSES, and keep its old
name in its module as an alias, for pickles. Only then are older stores still read.
"""

from __future__ import annotations

RECORDED = {
    "rayflow.lang.code.code_graph": "rayflow.lang.code_identity",
    "rayflow.lang.gather": "rayflow.lang.awaiting",
    "rayflow.lang.parameters.job_info": "rayflow.lang.job_info",
    "rayflow.lang.parameters.signatures": "rayflow.lang.signatures",
    "rayflow.lang.task_table": "rayflow.lang.entries",
    "rayflow.lang.terms.expressions": "rayflow.lang.expressions",
    "rayflow.lang.wrappers": "rayflow.lang.wrapping",
    "rayflow.values.display.tracebacks": "rayflow.values.tracebacks",
    "rayflow.values.files.files": "rayflow.values.files",
    "rayflow.values.objects.exceptions": "rayflow.values.exceptions",
    "rayflow.values.objects.handlers": "rayflow.values.handlers",
    "rayflow.values.objects.hooks": "rayflow.values.hooks",
    "rayflow.values.objects.pickling": "rayflow.values.pickling",
    "rayflow.values.objects.subclasses": "rayflow.values.subclasses",
    "rayflow.values.process.main_module": "rayflow.values.main_module",
    "rayflow.values.types.numpy_arrays": "rayflow.values.arrays",
    "rayflow.values.types.builtin": "rayflow.values.builtin",
    "rayflow.values.types.functions": "rayflow.values.functions",
    "rayflow.values.types.leaves": "rayflow.values.leaves",
    "rayflow.values.types.polars_frames": "rayflow.values.polars_frames",
}
"""The name of a module today -> its name in the first store that holds it."""

RECORDED_CLASSES = {
    ("rayflow.values.objects.exceptions", "StandIn"): "Unkept",
    ("rayflow.values.process.main_module", "MainScript"): "Script",
}
"""Module and name of a class today -> its name in the first store that holds it."""

_TODAY = {recorded: today for today, recorded in RECORDED.items()}


def recorded_name(module: str) -> str:
    """The name of a module in records."""
    return RECORDED.get(module, module)


def recorded_class_name(of: type) -> str:
    """The qualified name of a class in records."""
    return RECORDED_CLASSES.get((of.__module__, of.__qualname__), of.__qualname__)


def name_today(module: str) -> str:
    """The name today of a module that has this name in records."""
    return _TODAY.get(module, module)
