"""What of a pandas frame counts besides its content."""

from __future__ import annotations

from typing import Any

import pytest

from rayflow.values.encoding.encoding import decode, encode
from rayflow.values.encoding.identity import value_hash

pandas = pytest.importorskip("pandas")


@pytest.mark.parametrize("made", [lambda: pandas.DataFrame({"a": [1]}), lambda: pandas.Series([1])])
def test_attrs_count_and_are_kept(made: Any) -> None:
    plain, metres, feet = made(), made(), made()
    metres.attrs["unit"], feet.attrs["unit"] = "m", "ft"
    assert len({value_hash(plain), value_hash(metres), value_hash(feet)}) == 3
    again = decode(encode(metres))
    assert again.attrs == {"unit": "m"}
    assert value_hash(again) == value_hash(metres)
    assert value_hash(made()) == value_hash(plain)
