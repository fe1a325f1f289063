"""Handles: a database that tasks change, one state after the other."""

from __future__ import annotations

import copy
import pickle
import sqlite3

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Handle, Scheduler, merge_handles
from rayflow.errors import BadArguments, NotSerializable
from rayflow.values.handles import lineage_of

CODE = """
    import sqlite3
    from pathlib import Path
    from rayflow import Handle, JobInfo, no_prov, seq, subrun, task

    HERE = Path(__file__).parent

    class Database(Handle):
        def __init__(self, name, file="test.db"):
            self.connection = sqlite3.connect(HERE / file)

        def change(self, statement):
            with self.connection:
                self.connection.execute(statement)

        def all(self):
            return [row[0] for row in self.connection.execute("select x from t order by x")]

    @task
    def create(db):
        db.change("drop table if exists t")
        db.change("create table t (x)")
        return db

    @task
    def insert(db, x):
        db.change(f"insert into t values ({x})")
        return db

    @task
    def double(db):
        db.change("insert into t select x * 2 from t")
        return {"database": db, "rows": len(db.all())}

    @task
    def read(db):
        return db.all()

    @task
    def main():
        db = create(Database("test"))
        db = insert(insert(db, 1), 10)
        return read(double(db)["database"])

    @task
    def left(db):
        return db

    @task
    def right(db):
        return db

    @task
    def listed(dbs):
        return [dbs[0]]

    @task
    def both(one, other):
        return [one, other]

    @task
    def first_of(one, other):
        return one

    @task
    def forking(db, key):
        return db.fork(key)

    @task
    def passing(db):
        return left(db)

    @task
    async def awaiting(db):
        return await left(db)

    @task(check_valid="shallow")
    def shallow(db):
        return passing(db)

    @task(config_args=["threads"])
    def tuned(db, threads, job: JobInfo = JobInfo()):
        assert job.job_id
        return db

    @task
    def in_forks():
        db = create(Database("test"))
        return [left(db.fork("left")), right(db.fork("right"))]

    @task
    def on_one_state():
        db = create(Database("test"))
        return [left(db), right(db)]
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(CODE)
    return made


def test_the_states_that_tasks_return_are_cached(flow: Flow) -> None:
    assert flow.call("main") == [1, 2, 10, 20]
    assert flow.call("main") == [1, 2, 10, 20]
    assert not flow.computed()


def test_a_task_that_runs_again_on_an_earlier_state_has_all_later_ones_made_again(flow: Flow) -> None:
    flow.call("main")
    flow.edit('change("create table', 'change("create table if not exists')
    assert flow.call("main") == [1, 2, 10, 20]
    assert flow.computed() == {"create": 1, "insert": 2, "double": 1, "read": 1}
    flow.edit("select x * 2 from", "select x * 3 from")
    # The database itself is not turned back: what the task did before is still there.
    assert flow.call("main") == [1, 2, 3, 6, 10, 20, 30, 60]
    assert flow.computed() == {"double": 1, "read": 1}


def test_a_state_that_was_rolled_back_is_made_again_when_it_is_wanted_again(flow: Flow) -> None:
    flow.call("main")
    flow.edit('change("create table', 'change("create table if not exists')
    flow.call("main")
    flow.write(CODE)
    assert flow.call("main") == [1, 2, 10, 20]
    assert flow.computed() == {"create": 1, "insert": 2, "double": 1}
    assert flow.call("main") == [1, 2, 10, 20]
    assert not flow.computed()


def test_an_earlier_state_alone_is_still_current(flow: Flow) -> None:
    flow.call("main")
    flow.run(flow.module.create(flow.module.Database("test")))
    assert not flow.computed()


def test_branches_with_forks_of_their_own_leave_each_other_alone(flow: Flow) -> None:
    flow.call("in_forks")
    flow.edit("def right(db):\n    return db", "def right(db):\n    return [db][0]")
    flow.call("in_forks")
    assert flow.computed() == {"right": 1}
    flow.call("in_forks")
    assert not flow.computed()


def test_of_two_tasks_on_one_state_the_later_outdates_what_the_earlier_has_made(flow: Flow) -> None:
    flow.call("on_one_state")
    flow.call("on_one_state")
    assert flow.computed() == {"left": 1}


@pytest.mark.parametrize(
    ("result", "first", "second"),
    [
        ("[left(db), right(db)]", "left", "right"),
        ("seq([left(db), right(db)])", "left", "right"),
        ("[insert(db, 1), insert(db, 2)]", "insert", "insert"),
        ("[listed([db]), right(db)]", "listed", "right"),
        ("[left(db.fork('a')), right(db.fork('a'))]", "left", "right"),
        ("[no_prov(left(db)), right(db)]", "left", "right"),
        ("[first_of(db, Database('a')), first_of(db, Database('b'))]", "first_of", "first_of"),
        ("[forking(db, 'a'), first_of(db.fork('a'), db)]", "forking", "first_of"),
    ],
)
def test_two_calls_that_change_one_state_are_told_of_in_every_run(
    flow: Flow, result: str, first: str, second: str
) -> None:
    flow.write(CODE + f"""
    @task
    def rivals():
        db = create(Database('test'))
        return {result}
    """)
    for _ in range(1 if "no_prov" in result else 3):  # later its value is known, and the calls in it are not met
        flow.watching.warnings.clear()
        flow.call("rivals")
        assert flow.watching.summaries[-1].counts["computed"], "neither of them settles"
        told = "".join(flow.watching.warnings)
        assert f"flow.{first}(" in told and f"flow.{second}(" in told and "change one state of Database('test')" in told
        assert "fork(" in told


@pytest.mark.parametrize(
    "result",
    [
        "right(left(db))", "[left(db.fork('a')), right(db.fork('b'))]", "[left(db), left(db)]", "[left(db), read(db)]",
        "[both(db, Database('other')), read(db)]", "no_prov(right(left(db)))", "[passing(db), left(db)]",
        "[forking(db, 'a'), forking(db, 'b')]", "[left(db), forking(db, 'a')]", "[read(left(db).fork('a')), left(db)]",
        "[awaiting(db)]", "[awaiting(db), left(db)]", "subrun(right(left(db)))", "[shallow(db), left(db)]",
    ],
)  # fmt: skip
def test_calls_that_leave_each_other_alone_settle_and_are_not_told_of(flow: Flow, result: str) -> None:
    flow.write(CODE + f"""
    @task
    def alone():
        db = create(Database('test'))
        return {result}
    """)
    for number in range(2):
        flow.call("alone")
        assert flow.watching.warnings == []
        if number:
            assert not flow.computed()


def test_what_does_not_count_for_a_call_does_not_count_for_the_state_that_it_makes(flow: Flow) -> None:
    tuned, handle = flow.module.tuned, flow.module.Database("test")
    made = [lineage_of(flow.run(tuned(handle, threads), cache=False)) for threads in (1, 2)]
    assert made[0] == made[1] != lineage_of(handle)


def test_a_handle_with_other_arguments_is_another_handle(flow: Flow) -> None:
    made = flow.module.Database
    one, same, other = made("test"), made("test"), made("test", "other.db")
    assert lineage_of(one) == lineage_of(same) != lineage_of(other)
    assert lineage_of(one.fork("a")) == lineage_of(same.fork("a")) != lineage_of(one.fork("b"))
    assert one.fork("a").connection is one.connection
    flow.run(flow.module.create(one))
    flow.run(flow.module.create(other))
    assert flow.computed() == {"create": 1}


def test_what_a_failed_task_was_given_stays_as_it_was(flow: Flow) -> None:
    flow.call("main")
    flow.edit("insert into t select", "insert into nowhere select")
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        flow.call("main")
    flow.write(CODE)
    flow.call("main")
    assert not flow.computed()


def test_a_handle_has_a_name() -> None:
    with pytest.raises(BadArguments, match="the first argument of a handle has to be its name, a text, but is 3"):
        Handle(3)  # type: ignore[arg-type]


def test_states_can_be_asked_for(flow: Flow) -> None:
    flow.call("main")
    rows = flow.project.sql("select task_name, preview from handles order by recorded_at")
    assert [name for name, _ in rows] == ["flow.create", "flow.insert", "flow.insert", "flow.double"]
    assert rows[0][1] == "Database('test')"
    assert rows[1][1].startswith("Database('test') at ")


@pytest.mark.ray
def test_states_are_checked_on_ray(flow: Flow, ray_cluster: str) -> None:
    def run() -> object:
        with Scheduler(store=str(flow.project.path / ".rayflow"), address=ray_cluster) as scheduler:
            return scheduler.run(flow.module.main())

    assert run() == [1, 2, 10, 20]
    flow.edit('change("create table', 'change("create table if not exists')
    assert run() == [1, 2, 10, 20]
    assert flow.computed() == {"create": 1, "insert": 2, "double": 1, "read": 1}


# --- a handle in place of the object that it holds --------------------------------------------------------------------

STAND_IN = """
    import functools
    import sqlite3
    from pathlib import Path
    from rayflow import Handle, task

    HERE = Path(__file__).parent

    class Database(Handle):
        def __init__(self, name, file="test.db"):
            self.file = file
            self.instance = sqlite3.connect(HERE / file)

    class OnUse(Handle):
        def __init__(self, name, file="test.db"):
            self.file = file

        @functools.cached_property
        def instance(self):
            return sqlite3.connect(HERE / self.file)

    @task
    def create(db):
        db.execute("create table if not exists t (x)")
        return db

    @task
    def insert(db, x):
        with db.instance:
            db.executemany("insert into t values (?)", [(x,), (10 * x,)])
        return db

    @task
    def read(db):
        return [row[0] for row in db.cursor().execute("select x from t order by x")]

    @task
    def main(kind):
        db = insert(create({"set": Database, "property": OnUse}[kind]("test")), 1)
        return [read(db), db.file, db.in_transaction]
"""


@pytest.mark.parametrize("kind", ["set", "property"])
def test_calls_on_a_handle_reach_its_instance(flow: Flow, kind: str) -> None:
    flow.write(STAND_IN)
    expected = [[1, 10], "test.db", False]
    assert flow.call("main", kind) == expected
    assert flow.call("main", kind) == expected
    assert flow.computed() == {}


@pytest.mark.ray
@pytest.mark.parametrize("kind", ["set", "property"])
def test_calls_on_a_handle_reach_its_instance_on_workers(flow: Flow, ray_cluster: str, kind: str) -> None:
    flow.write(STAND_IN)
    with Scheduler(store=str(flow.project.path / ".rayflow"), address=ray_cluster) as scheduler:
        assert scheduler.run(flow.module.main(kind)) == [[1, 10], "test.db", False]


class Counted(Handle):
    """Holds a plain object, which lacks some names and has some that a handle has too."""

    def __init__(self, name: str) -> None:
        self.own = "the handle's"
        self.instance = type("Thing", (), {"own": "the thing's", "fork": "the thing's", "size": 3, "__len__": len})()


class Broken(Handle):
    """Its instance cannot be made."""

    @property
    def instance(self) -> object:
        return self.nowhere


def test_what_a_handle_has_itself_comes_before_its_instance() -> None:
    handle = Counted("thing")
    assert (handle.own, handle.size) == ("the handle's", 3)
    assert lineage_of(handle.fork("a")) != lineage_of(handle)
    assert handle.fork("a").size == 3
    assert not hasattr(handle, "__len__"), "protocols of the instance are not the handle's"
    handle.size = 4
    assert handle.instance.size == 3


@pytest.mark.parametrize(
    ("handle", "name", "told"),
    [
        (Handle("plain"), "execute", r"'Handle' has no attribute 'execute'.*self.instance"),
        (Handle("plain"), "instance", r"'Handle' object has no attribute 'instance'"),
        (Counted("thing"), "size_of", r"'Thing' object has no attribute 'size_of'"),
        (Broken("thing"), "execute", r"'Broken' has no attribute 'nowhere'"),
        (Broken("thing"), "instance", r"'Broken' has no attribute 'nowhere'"),
        (Handle.__new__(Handle, "half made"), "name", r"no attribute 'name'"),
        (object.__new__(Handle), "_lineage", r"no attribute '_lineage'"),
    ],
)  # fmt: skip
def test_an_attribute_that_neither_has_is_an_error_that_says_whose(handle: Handle, name: str, told: str) -> None:
    with pytest.raises(AttributeError, match=told):
        getattr(handle, name)


def test_a_handle_that_stands_in_is_copied_and_kept_as_any_other(flow: Flow) -> None:
    module = flow.write(STAND_IN)
    handle = module.Database("test")
    assert lineage_of(copy.copy(handle)) == lineage_of(handle)
    assert lineage_of(pickle.loads(pickle.dumps(handle))) == lineage_of(handle)
    flow.run(module.create(handle))
    handle.execute("insert into t values (5)")
    handle.commit()
    assert flow.run(module.read(handle.fork("one"))) == [5]


# --- branches that come together --------------------------------------------------------------------------------------

MERGING = CODE.replace("import Handle, JobInfo, no_prov", "import Handle, JobInfo, merge_handles, no_prov") + """
    @task
    def low(db):
        db.change("delete from t where x < 100")
        db.change("insert into t values (1)")
        return db

    @task
    def high(db):
        db.change("delete from t where x >= 100")
        db.change("insert into t values (100)")
        return db

    @task(check_valid="{validity}")
    def both_ways():
        db = create(Database("test"))
        return merge_handles([low(db.fork("low")), high(db.fork("high"))])

    @task(check_valid="{validity}")
    def and_on():
        return insert(both_ways(), 10)

    @task
    def reading(name):
        return read({"both": both_ways, "on": and_on}[name]())
"""


@pytest.mark.parametrize("validity", ["full", "shallow"])
@pytest.mark.parametrize(("name", "more"), [("both", []), ("on", [10])])
def test_a_merged_state_comes_after_all_branches(flow: Flow, validity: str, name: str, more: list[int]) -> None:
    code = MERGING.replace("{validity}", validity)
    flow.write(code)
    assert flow.call("reading", name) == [1, *more, 100]
    assert flow.call("reading", name) == [1, *more, 100]
    assert flow.computed() == {}
    assert flow.watching.warnings == []
    for branch, old, new in (("low", "values (1)", "values (2)"), ("high", "values (100)", "values (200)")):
        flow.edit(old, new)
        assert int(new[8:-1]) in flow.call("reading", name)
        assert flow.computed()[branch] == flow.computed()["merge_handles"] == 1
        # The records of the first run answer again, but not before the branch is as it was then.
        flow.write(code)
        assert int(old[8:-1]) in flow.call("reading", name)
        assert flow.computed()[branch] == 1


@pytest.mark.parametrize(
    ("handles", "told"),
    [
        ("[]", "a list of states of one handle, not \\[\\]"),
        ("[Database('a'), 3]", "not \\[.*, 3\\]"),
        ("[Database('a'), Database('b')]", "Database\\('a'\\) and Database\\('b'\\) are two"),
    ],
)
def test_only_states_of_one_handle_can_be_merged(flow: Flow, handles: str, told: str) -> None:
    module = flow.write(MERGING.replace("{validity}", "full"))
    with pytest.raises(BadArguments, match=told):
        flow.run(merge_handles(eval(handles, vars(module))))


@pytest.mark.ray
def test_branches_are_merged_on_ray(flow: Flow, ray_cluster: str) -> None:
    module = flow.write(MERGING.replace("{validity}", "shallow"))
    with Scheduler(store=str(flow.project.path / ".rayflow"), address=ray_cluster) as scheduler:
        assert scheduler.run(module.reading("on")) == [1, 10, 100]
        assert scheduler.run(module.reading("on")) == [1, 10, 100]
    assert flow.computed() == {}


BROKEN = """
    import socket, threading
    from rayflow import Handle, task

    class Open(Handle):
        def __init__(self, name):
            self.lock, self.socket = threading.Lock(), socket.socket()

        def __reduce__(self):
            raise ValueError("its recipe is its arguments: nobody asks this")

        __copy__ = __deepcopy__ = __getstate__ = __reduce__

    class Takes(Handle):
        def __init__(self, name, lock, *, other=None):
            self.lock = lock

    class Once(Handle):
        made = []

        def __init__(self, name, how=None):
            if self.made:
                raise SystemExit(3) if how == "exits" else OSError("in use")
            self.made.append(name)

    @task
    def use(handle):
        return handle

    @task
    def main(what: str):
        handle = {
            "open": lambda: Open("a"),
            "a lock": lambda: Takes("a", threading.Lock()),
            "a lock by name": lambda: Takes("a", 1, other=[threading.Lock()]),
            "raises": lambda: Once("a"),
            "exits": lambda: Once("a", "exits"),
        }[what]()
        return [use(handle), use([handle.fork("b")])]

    @task
    def give(what: str):
        return Once("a", what)
"""


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("a lock", r"Takes: its argument 2 is a _thread\.lock, which cannot be kept"),
        ("a lock by name", r"Takes: its argument other\[0\] is a _thread\.lock, which cannot be kept"),
        ("raises", r"argument 1 \(handle\) is a flow\.Once, .*OSError: in use"),
        ("exits", r"argument 1 \(handle\) is a flow\.Once, .*raised SystemExit"),
    ],
)
def test_a_handle_that_cannot_be_made_again_is_told_where_it_was_made(project: Project, what: str, says: str) -> None:
    flow = Flow(project)
    flow.write(BROKEN)
    with pytest.raises(NotSerializable, match=says):
        flow.call("main", what)
    assert flow.project.sql("select task_name from jobs where status = 'failed'") == [("flow.main",)]
    if what in ("raises", "exits"):
        flow.write(BROKEN)
        with pytest.raises(NotSerializable, match=r"result is a flow\.Once"):
            flow.call("give", what)


def test_a_handle_with_sockets_and_locks_travels_by_its_arguments(project: Project) -> None:
    flow = Flow(project)
    flow.write(BROKEN)
    first, second = flow.call("main", "open")
    assert first.lock and second[0].socket.fileno() > 0
