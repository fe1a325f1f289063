"""What an older store names is found, though modules have been moved and classes renamed since."""

from __future__ import annotations

import importlib

import pytest

from rayflow.values.objects import pickling
from rayflow.values.objects.exceptions import StandIn
from rayflow.values.objects.handlers import class_path, load_class
from rayflow.values.process.recorded_names import RECORDED, RECORDED_CLASSES

PICKLED = (
    "arrays _viewed", "builtin _built", "builtin _empty", "builtin _fill", "custom _restored", "custom _Reduction",
    "exceptions Unkept", "exceptions from_pieces", "exceptions give_attributes", "files _again", "handlers load_class",
    "handles _decoded", "hooks _same", "hooks same", "leaves _made_bytearray", "leaves _made_path", "leaves _made_uuid",
    "pickling _code_in", "pickling _fill_class", "pickling _inner_class", "pickling _viewed", "polars_frames _read",
    "polars_frames _read_series", "polars_frames _remade", "subclasses _set_state", "subclasses give",
    "subclasses remade",
)  # fmt: skip
"""Module and name of everything of ours that pickles in older stores hold."""


@pytest.mark.parametrize("name", PICKLED)
def test_what_a_pickle_of_an_older_store_names_is_found(name: str) -> None:
    module, attribute = name.split()
    stream = f"crayflow.values.{module}\n{attribute}\n.".encode()
    assert callable(pickling.load(stream))


PICKLED_TABLES = (
    "rayflow.lang.entries TaskEntry", "rayflow.lang.signatures Parameters", "rayflow.lang.code_identity Definition",
    "rayflow.values.main_module Script",
)  # fmt: skip
"""What the tables of tasks hold that older stores keep for executions to be resumed."""


@pytest.mark.parametrize("name", PICKLED_TABLES)
def test_what_an_older_table_of_tasks_names_is_found(name: str) -> None:
    module, attribute = name.split()
    assert isinstance(pickling.load(f"c{module}\n{attribute}\n.".encode()), type)


@pytest.mark.parametrize("module", RECORDED)
def test_a_module_with_a_recorded_name_is_there(module: str) -> None:
    assert importlib.import_module(module)


def test_a_renamed_class_is_hashed_and_found_by_its_recorded_name() -> None:
    assert [*RECORDED_CLASSES.values()] == ["Unkept", "Script"]
    assert class_path(StandIn) == "rayflow.values.exceptions:Unkept"
    assert load_class("rayflow.values.exceptions:Unkept") is StandIn
