"""Forms as they are written."""

from __future__ import annotations

from typing import Any

import pytest

from rayflow.errors import BadArguments
from rayflow.lang.combinators import catch, cond, len_, not_, quote, seq
from rayflow.lang.terms.expressions import Form, Operation, Quoted, TaskCall

X: Any = TaskCall("lab.f")


def test_cond_asks_for_the_truth_of_lazy_conditions_and_ends_with_none() -> None:
    form = cond(X, "a", False, "b")
    assert type(form) is Form and form._name == "cond"
    truth, then, second, other, otherwise = form._args
    assert type(truth) is Operation and truth._name == "truth"
    assert (then, second, other, otherwise) == ("a", False, "b", None)
    assert cond(X, "a", "else")._args[-1] == "else"


def test_catch_takes_pairs_of_classes_and_recoveries() -> None:
    form = catch(X, (KeyError, OSError), print, Exception, X)
    assert form._args[1] == ("builtins.KeyError", "builtins.OSError")
    assert form._args[3] == ("builtins.Exception",)
    for handlers in ((), (KeyError,), (KeyError, print, OSError), (3, print), (KeyError, 3)):
        with pytest.raises(BadArguments):
            catch(X, *handlers)


def test_seq_takes_anything_with_a_known_length() -> None:
    assert seq(X for _ in range(2))._args == (X, X)
    with pytest.raises(BadArguments, match="length is known"):
        seq(X)


def test_quote_len_and_not_are_lazy_for_lazy_values_only() -> None:
    assert type(quote(X)) is Quoted
    assert (len_([1, 2]), not_(0)) == (2, True)
    assert (len_(X)._name, not_(X)._name) == ("len", "not")


def test_catch_takes_exception_classes_and_not_their_names() -> None:
    with pytest.raises(BadArguments, match="give the exception class itself, not its name 'ValueError'"):
        catch(1, "ValueError", print)
