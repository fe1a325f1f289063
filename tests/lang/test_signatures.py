"""Calls are bound as Python binds them."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflow.errors import BadArguments
from rayflow.lang.parameters.signatures import Parameters, parameters_of, without_lazy_defaults
from rayflow.lang.terms.expressions import TaskCall

KINDS = st.sampled_from(
    [inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY]
)


@st.composite
def signatures(draw: st.DrawFn) -> inspect.Signature:
    kinds = sorted(draw(st.lists(KINDS, max_size=5)))
    has_default = False
    parameters = []
    for name, kind in zip("abcde", kinds, strict=False):
        has_default = draw(st.booleans()) or (has_default and kind != inspect.Parameter.KEYWORD_ONLY)
        parameters.append(inspect.Parameter(name, kind, default=0 if has_default else inspect.Parameter.empty))
    if draw(st.booleans()):
        place = sum(each.kind < inspect.Parameter.VAR_POSITIONAL for each in parameters)
        parameters.insert(place, inspect.Parameter("rest", inspect.Parameter.VAR_POSITIONAL))
    if draw(st.booleans()):
        parameters.append(inspect.Parameter("named", inspect.Parameter.VAR_KEYWORD))
    return inspect.Signature(parameters)


def parameters(signature: inspect.Signature) -> Parameters:
    def function() -> None: ...

    function.__signature__ = signature  # type: ignore[attr-defined]
    return parameters_of(function)[0]


ARGUMENTS = st.lists(st.integers(), max_size=6).map(tuple)
KEYWORDS = st.dictionaries(st.sampled_from("abcdexy"), st.integers(), max_size=4)


@given(signatures(), ARGUMENTS, KEYWORDS)
def test_a_call_is_bound_as_python_binds_it(
    signature: inspect.Signature, args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    space: dict[str, Any] = {}
    exec(f"def function{signature}: return locals()", space)
    try:
        expected: dict[str, Any] | None = space["function"](*args, **kwargs)
    except TypeError:
        expected = None
    mine = parameters(signature)
    assert mine.accepts(len(args), tuple(kwargs)) == (expected is not None)
    if expected is None:
        with pytest.raises(BadArguments):
            mine.bind(args, kwargs)
    else:
        left_out: dict[str, Any] = {"rest": (), "named": {}, **dict.fromkeys(mine.defaulted, 0)}
        assert {name: left_out.get(name) for name in mine.names} | mine.bind(args, kwargs) == expected


@given(signatures(), ARGUMENTS, KEYWORDS)
def test_a_partial_call_is_bound_as_python_binds_it(
    signature: inspect.Signature, args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    # inspect refuses a keyword that is also the name of a positional-only parameter; Python takes it into **named.
    positional_only = [name for name, each in signature.parameters.items() if each.kind == each.POSITIONAL_ONLY]
    kwargs = {name: value for name, value in kwargs.items() if name not in positional_only}
    try:
        expected: dict[str, Any] | None = dict(signature.bind_partial(*args, **kwargs).arguments)
    except TypeError:
        expected = None
    if expected is None:
        with pytest.raises(BadArguments):
            parameters(signature).bind(args, kwargs, partial=True)
    else:
        assert parameters(signature).bind(args, kwargs, partial=True) == expected


@given(signatures(), ARGUMENTS, KEYWORDS, st.booleans())
def test_spread_gives_a_call_that_is_bound_alike(
    signature: inspect.Signature, args: tuple[int, ...], kwargs: dict[str, int], fill: bool
) -> None:
    mine = parameters(signature)
    if not mine.accepts(len(args), tuple(kwargs)):
        return
    bound = mine.bind(args, kwargs)
    if fill:
        bound = {name: bound.get(name, 0) for name in mine.names if name in bound or name in mine.defaulted}
    again_args, again_kwargs = mine.spread(bound)
    assert mine.bind(tuple(again_args), again_kwargs) == bound


def test_errors_are_in_pythons_words_and_name_the_nearest_keyword() -> None:
    def f(first: int, /, second: int, *, third: int = 3) -> None: ...

    mine, defaults = parameters_of(f)
    assert defaults == {"third": 3}
    with pytest.raises(BadArguments, match=r"f\(\) missing 1 required argument: 'second'"):
        mine.bind((1,), {}, name="f")
    with pytest.raises(BadArguments, match="did you mean 'third'"):
        mine.bind((1, 2), {"thrid": 1}, name="f")
    with pytest.raises(BadArguments, match="takes 2 positional arguments but 3 were given"):
        mine.bind((1, 2, 3), {}, name="f")
    with pytest.raises(BadArguments, match="multiple values for argument 'second'"):
        mine.bind((1, 2), {"second": 1}, name="f")


def test_a_function_travels_without_its_lazy_defaults() -> None:
    lazy: Any = TaskCall("some.task", ())

    def function(a: int, b: Any = lazy, c: Any = [lazy], d: int = 4, *, e: Any = lazy, f: int = 6) -> Any:  # noqa: B006
        return a, b, c, d, e, f

    sent = without_lazy_defaults(function)
    assert sent(1) == (1, None, [None], 4, None, 6)
    assert sent.__qualname__ == function.__qualname__
    assert without_lazy_defaults(sent) is sent
