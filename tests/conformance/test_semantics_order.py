"""Order is data: that of a dict's items, and that of keywords."""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


ORDERED = """
    import json
    from collections import Counter, OrderedDict, defaultdict
    from dataclasses import dataclass
    from types import MappingProxyType, SimpleNamespace

    import attrs, pandas, pydantic
    from rayflow import get_context, task

    @dataclass
    class Plain:
        of: dict

    @attrs.define
    class Defined:
        of: dict

    class Model(pydantic.BaseModel):
        of: dict

    class Own:
        def __init__(self, of):
            self.of = of

    class Sub(dict):
        pass

    def frame(of):
        made = pandas.DataFrame({"a": [1]})
        made.attrs["of"] = of
        return made

    MAKERS = {
        "dict": dict, "list": lambda of: [of], "tuple": lambda of: (1, (of,)),
        "long": lambda of: {**of, "z": "z" * 9000},
        "OrderedDict": OrderedDict, "Counter": Counter, "defaultdict": lambda of: defaultdict(list, of), "Sub": Sub,
        "dataclass": Plain, "attrs": Defined, "pydantic": lambda of: Model(of=of), "object": Own,
        "namespace": lambda of: SimpleNamespace(**of), "proxy": MappingProxyType, "attrs of a frame": frame,
    }

    def keys(value):
        for _ in range(5):
            if isinstance(value, pandas.DataFrame):
                value = value.attrs["of"]
            elif isinstance(value, (list, tuple)):
                value = value[-1]
            elif isinstance(value, SimpleNamespace):
                value = vars(value)
            elif hasattr(value, "of"):
                value = value.of
        return ",".join(value)

    @task
    def see(value):
        return keys(value)

    @task
    def make(kind, turned):
        return MAKERS[kind]({"b": 1, "a": 2} if turned else {"a": 2, "b": 1})

    @task
    def through(kind, turned):
        return see(make(kind, turned))

    @task
    def named(x=0, **rest):
        return ",".join(rest)

    @task
    def context():
        return see(get_context("all"))
"""


@pytest.mark.parametrize(
    "kind",
    ["dict", "list", "tuple", "long", "OrderedDict", "Counter", "defaultdict", "Sub", "dataclass", "attrs", "pydantic",
     "object", "namespace", "proxy", "attrs of a frame"],
)  # fmt: skip
def test_the_order_of_a_dict_counts_and_reaches_the_body(flow: Flow, kind: str) -> None:
    module = flow.write(ORDERED)
    turned = {"b": 1, "a": 2}
    expected = [module.keys(module.MAKERS[kind](of)) for of in ({"a": 2, "b": 1}, turned)]
    assert expected[0] != expected[1]
    for _ in range(2):  # computed, then cached
        assert [flow.call("see", module.MAKERS[kind](of)) for of in ({"a": 2, "b": 1}, turned)] == expected
        assert flow.run([module.see(module.MAKERS[kind](of)) for of in ({"a": 2, "b": 1}, turned)]) == expected
        assert flow.run([module.through(kind, False), module.through(kind, True)]) == expected
    assert flow.computed() == {}


def test_keywords_count_in_the_order_of_the_call_and_named_parameters_by_their_names(flow: Flow) -> None:
    module = flow.write(ORDERED)
    calls = [
        module.named(a=1, b=2, x=5), module.named(x=5, b=2, a=1), module.named.partial(b=2, x=5)(a=1),
        module.named.partial(x=5, b=2).partial(a=1)(),
    ]  # fmt: skip
    assert flow.run(calls) == ["a,b", "b,a", "b,a", "b,a"]
    assert flow.computed() == {"named": 2}
    assert flow.call("named", x=5, a=1, b=2) == "a,b"
    assert flow.computed() == {}
    first, second = module.named.partial(b=2, x=5), module.named.partial(x=5, b=2)
    assert first.__rayflow_identity__() == second.__rayflow_identity__()
    assert first.__rayflow_identity__() != module.named.partial(b=2, c=3).__rayflow_identity__()
    assert (
        module.named.partial(b=2, c=3).__rayflow_identity__() != module.named.partial(c=3, b=2).__rayflow_identity__()
    )


def test_a_context_of_another_order_is_another_one_for_who_reads_it_whole(flow: Flow) -> None:
    module = flow.write(ORDERED)
    assert flow.run(module.context(), context={"all": {"a": 1, "b": 2}}) == "a,b"
    assert flow.run(module.context(), context={"all": {"b": 2, "a": 1}}) == "b,a"


def test_recorded_arguments_come_back_in_their_order(flow: Flow) -> None:
    module = flow.write(ORDERED)
    assert flow.run(module.named(b=1, a=2)) == "b,a"
    assert flow.run(module.see({"b": 1, "a": 2})) == "b,a"
    rows = flow.project.sql("select job_id from jobs where task_name in ('flow.named', 'flow.see')")
    with Scheduler(store=str(flow.project.path / ".rayflow"), inline=True) as scheduler:
        assert [scheduler.rerun(job_id) for (job_id,) in rows] == ["b,a", "b,a"]
