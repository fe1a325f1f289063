# ruff: noqa: E501  one case a line reads better than five
"""Constants of any type, run, edited and run again; and what a run says of those that it cannot see."""

from __future__ import annotations

import re

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


EDITED = {
    "a model": "from sklearn.linear_model import Ridge\nK = Ridge(alpha=1)\ndef use(): return K.alpha",
    "a model in a table": "from sklearn.linear_model import Ridge\nK = {'a': [Ridge(alpha=1)]}\ndef use(): return K['a'][0].alpha",
    "a distribution": "from scipy.stats import norm\nK = norm(loc=1)\ndef use(): return float(K.mean())",
    "a graph": "import networkx as nx\nK = nx.Graph([(0, 1)])\ndef use(): return sorted(K.edges)",
    "a polynomial": "import numpy as np\nK = np.polynomial.Polynomial([1, 3])\ndef use(): return K(1.)",
    "a sparse matrix": "from scipy.sparse import csr_matrix\nK = csr_matrix([[1, 0]])\ndef use(): return int(K.sum())",
    "an expression": "import polars as pl\nK = pl.col('a') + 1\ndef use(): return pl.DataFrame({'a': [0]}).select(K).item()",
    "a made ufunc": "import numpy as np\ndef f(x): return x + 1\nK = np.frompyfunc(f, 1, 1)\ndef use(): return K(0)",
    "a seeded generator": "import numpy as np\nK = np.random.default_rng(1)\ndef use(): return K.bit_generator.seed_seq.entropy",
    "a bound method": "from sklearn.linear_model import Ridge\nK = Ridge(alpha=1).get_params\ndef use(): return K()['alpha']",
    "a template": "import jinja2\nK = jinja2.Template('{{ x }} 1')\ndef use(): return K.render(x=0)",
}


@pytest.mark.parametrize("text", EDITED.values(), ids=EDITED)
def test_an_edit_of_a_constant_runs_the_task_again_and_nothing_else_does(flow: Flow, text: str) -> None:
    text = f"from rayflow import task\n{text}\n@task\ndef main(): return use()\n"
    flow.write(text)
    before = flow.call("main")
    flow.write(text)
    assert flow.call("main") == before
    assert flow.computed() == {}
    flow.write(text.replace("1", "2", 1) if "frompyfunc" not in text else text.replace("+ 1", "+ 2"))
    assert flow.call("main") != before
    assert flow.computed() == {"main": 1}


UNSEEN = """
    import sqlite3, logging
    from rayflow import task

    CONNECTION = sqlite3.connect(":memory:", check_same_thread=False)
    LOG = logging.getLogger("a")
    TABLE = {"one": CONNECTION}

    def ask(text):
        LOG.info(text)
        return CONNECTION.execute(text).fetchone()[0]

    @task
    def first(x):
        return ask(f"select {x}")

    @task
    def second(name):
        return name in globals()

    @task
    def third():
        return TABLE["one"], CONNECTION, globals()["TABLE"], eval("LOG")

    @task(cache=False)
    def always():
        return ask("select 1")

    @task(version="1")
    def numbered():
        return ask("select 1")

    @task
    def harmless(x):
        LOG.info(x)
        return getattr(x, "real")

    @task
    def main():
        return [first(1), first(2), second("LOG"), always(), numbered(), harmless(1)]
"""


def told_of(text: str, flow: Flow) -> list[str]:
    return [each for each in flow.watching.warnings if each.startswith(f"flow.{text} does not run again for changes that ")]


def test_a_run_says_once_for_each_task_what_it_cannot_see_also_when_it_answers_from_the_cache(flow: Flow) -> None:
    flow.write(UNSEEN)
    for _ in range(2):
        flow.watching.warnings.clear()
        assert flow.call("main") == [1, 2, True, 1, 1, 1]
        (first,), (second,) = told_of("first", flow), told_of("second", flow)
        assert "flow.ask: CONNECTION is a sqlite3.Connection, whose content cannot be told" in first
        assert "so only the statement that makes it counts" in first
        assert "globals() is looked up only when it runs" in second
        assert "version=" in first
        assert len(flow.watching.warnings) == 2
    flow.watching.warnings.clear()
    assert flow.run(flow.module.first(1), cache=False) == 1
    assert flow.watching.warnings == []


def test_a_warning_names_three_doubts_and_counts_the_others(flow: Flow) -> None:
    flow.write(UNSEEN)
    with pytest.raises(Exception, match="sqlite3"):
        flow.call("third")
    (told,) = told_of("third", flow)
    assert re.search(r"; and 1 more \(`rayflow why --code \S+ flow.third` lists them\)", told)


USED = """
    import os
    import random
    from rayflow import seq, task

    MEMORY = {}
    RNG = random.Random(1)

    @task(num_cpus=2)
    def first(x):
        MEMORY[x] = RNG.random()
        return os.getpid()

    @task(num_cpus=2)
    def second(x):
        return os.getpid(), len(MEMORY)

    @task
    def unseen(x):
        return globals() is not None

    @task
    def main():
        return seq([first(1), second(1), unseen(1)])
"""


def test_a_worker_takes_constants_for_what_they_were_when_it_loaded_them(flow: Flow, ray_cluster: str) -> None:
    flow.write(USED)
    assert flow.module is not None
    store = str(flow.project.path / ".rayflow")
    with Scheduler(store=store, address=ray_cluster, reporter=flow.watching) as scheduler:
        process, (other, filled), _ = scheduler.run(flow.module.main())
        assert (other, filled) in {(process, 1), (other, 0)}
        assert len(told_of("unseen", flow)) == 1
        flow.watching.warnings.clear()
        assert scheduler.run(flow.module.main())[0] == process
        assert flow.computed() == {}
        assert len(told_of("unseen", flow)) == 1
