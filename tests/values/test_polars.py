"""polars values: by content, in every type of column."""

from __future__ import annotations

import datetime
import decimal
import subprocess
import sys
from typing import Any

import pytest

pl = pytest.importorskip("polars")

from rayflow.errors import NotSerializable  # noqa: E402  # polars may not be there
from rayflow.testing.contracts import check_handler, check_other_processes  # noqa: E402
from rayflow.values.encoding.encoding import make_ref, to_bytes  # noqa: E402
from rayflow.values.encoding.identity import value_hash  # noqa: E402
from rayflow.values.encoding.previews import preview  # noqa: E402


def frame(first: Any = 1) -> Any:
    return pl.DataFrame(
        {
            "number": [first, 2, None],
            "text": ["x", None, "zz"],
            "category": pl.Series(["u", "v", "u"], dtype=pl.Categorical),
            "enum": pl.Series(["u", "v", "u"], dtype=pl.Enum(["u", "v"])),
            "list": [[1], [2, 3], None],
            "struct": [{"q": 1}, {"q": 2}, None],
            "date": [datetime.date(2020, 1, 1)] * 3,
            "time": [datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)] * 3,
            "decimal": [decimal.Decimal("1.5")] * 3,
            "array": pl.Series([[1, 2], [3, 4], [5, 6]], dtype=pl.Array(pl.Int8, 2)),
            "nothing": [None] * 3,
            "bool": [True, None, False],
            "binary": [b"x", None, b"y"],
        }
    )


def series() -> Any:
    return pl.Series("s", [1.5, None])


@pytest.mark.slow
def test_a_frame_keeps_the_contract() -> None:
    others = [
        frame(7), frame().rename({"text": "t"}), frame().head(2),
        frame().with_columns(number=pl.col("number").cast(pl.Int8)),
        frame().with_columns(enum=pl.Series(["u", "v", "u"], dtype=pl.Enum(["v", "u"]))), frame().select("text"),
        frame().to_arrow(), frame().to_pandas(),
    ]  # fmt: skip
    check_handler(frame, others)
    check_other_processes(frame)


class Named(pl.DataFrame):  # type: ignore[misc, valid-type]
    pass


def test_a_subclass_stays_what_it_is() -> None:
    check_handler(lambda: Named({"a": [1]}), [pl.DataFrame({"a": [1]})])


def test_an_empty_frame_and_a_frame_of_no_columns_keep_the_contract() -> None:
    check_handler(lambda: frame().clear(), [frame()])
    check_handler(pl.DataFrame, [pl.DataFrame({"a": []})])


def test_a_series_keeps_the_contract() -> None:
    check_handler(series, [pl.Series("t", [1.5, None]), pl.Series("s", [1.5, 0.0]), series().to_frame(), [1.5, None]])


def test_chunks_offsets_and_codes_of_categories_do_not_count() -> None:
    whole = frame()
    pieces = pl.concat([whole.head(1), whole.tail(2)], rechunk=False)
    assert value_hash(pieces) == value_hash(whole) == value_hash(pl.concat([whole, whole]).slice(3))
    other = pl.Series("c", ["v", "u", "u"], dtype=pl.Categorical)[1:]
    assert value_hash(other) == value_hash(pl.Series("c", ["u", "u"], dtype=pl.Categorical))


def test_a_lazy_frame_is_refused_with_advice() -> None:
    for value in (frame().lazy(), {"plan": frame().lazy()}):
        with pytest.raises(NotSerializable, match=r"Return `frame.collect\(\)`"):
            make_ref(value)


def test_a_column_of_objects_is_refused_by_its_name() -> None:
    with pytest.raises(NotSerializable, match="The column 'o' of a polars frame holds Python objects"):
        make_ref(pl.DataFrame({"a": [1], "o": pl.Series([object()], dtype=pl.Object)}))


def test_the_preview_of_a_large_frame_is_short() -> None:
    assert preview(pl.DataFrame({"x": range(100_000)})) == "DataFrame 100000 x 1 (x: Int64)"


@pytest.mark.slow
def test_a_frame_is_read_in_a_process_that_has_not_met_polars(tmp_path) -> None:
    for value, text in ((frame(), "DataFrame (3, 13)"), (series(), "Series (2,)")):
        (tmp_path / "blob").write_bytes(to_bytes(make_ref(value)[1]))
        program = (
            "import sys; from rayflow.values.encoding.encoding import decode, from_bytes; "
            "value = decode(from_bytes(open(sys.argv[1], 'rb').read())); print(type(value).__name__, value.shape)"
        )
        ran = subprocess.run([sys.executable, "-c", program, str(tmp_path / "blob")], capture_output=True, text=True)
        assert ran.stdout.strip() == text, ran.stderr


def test_a_series_without_a_name_keeps_the_contract() -> None:
    check_handler(lambda: pl.Series([1, 2]), [pl.Series("column_0", [1, 2])])
    check_handler(lambda: pl.Series(range(3000)), [pl.Series("column_0", range(3000))])
