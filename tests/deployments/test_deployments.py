"""Calls of other deployments, without a cluster: settings, ids, what is sent, how an execution is followed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from played_dashboard import TOKEN, PlayedDashboard

from rayflow import Scheduler, config, deployment_task, task
from rayflow.deployment_settings import DeploymentSettings, check_deployments, context_of
from rayflow.deployments import far_executions
from rayflow.deployments.call_packages import read_call, send_call
from rayflow.deployments.far_executions import FarExecution, far_execution_id, headers_of, job_id_of, token_of
from rayflow.errors import BadArguments, BadConfig, ClusterUnavailable, DeploymentFailed, StoreUnavailable
from rayflow.lang.packing.realize import realized
from rayflow.lang.terms.expressions import TaskCall
from rayflow.store.open import open_store
from rayflow.submission.job_api import RayJob
from rayflow.testing import Rehearsal
from rayflow.values.encoding.encoding import decode, from_bytes

TABLE: dict[str, Any] = {
    "address": "http://head:8265",
    "store": "s3://b/s",
    "project": "far",
    "entries": {"align": "p.py:align"},
}


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"adress": "x"}, "deployments.genomics: there is no setting 'adress'. Did you mean 'address'?"),
        ({"package": "x"}, "Did you mean 'project'?"),
        ({"store": None}, "store has to be a text, and not empty, but is None"),
        ({"store": ":memory:"}, "the store :memory: ends with its process"),
        ({"entries": {}}, "entries has to be a table of tasks by name"),
        ({"entries": {"align": "p.py"}}, "the entry 'align' is 'p.py': write file.py:task"),
        ({"version": 1.5}, "version has to be a text or a whole number, not 1.5"),
        ({"token_file": "a", "token_env": "B"}, "token_file and token_env both name the token"),
        ({"headers_file": "a", "headers_env": "B"}, "headers_file and headers_env both name the headers"),
        ({"max_calls": 0}, "max_calls has to be a whole number above 0, not 0"),
        ({"max_calls": True}, "max_calls has to be a whole number above 0, not True"),
    ],
)
def test_a_wrong_setting_is_named(change: dict[str, Any], text: str) -> None:
    check_deployments({"genomics": TABLE}, "rayflow.toml")
    with pytest.raises(BadConfig) as error:
        check_deployments({"genomics": {**TABLE, **change}}, "rayflow.toml")
    assert text in str(error.value) and "rayflow.toml" in str(error.value)


def test_a_lacking_setting_and_a_wrong_name_are_named() -> None:
    with pytest.raises(BadConfig, match=r"deployments\.genomics lacks store, project"):
        check_deployments({"genomics": {"address": "a", "entries": {"a": "b:c"}}}, "rayflow.toml")
    with pytest.raises(BadConfig, match=r"'a\.b' cannot name a deployment"):
        check_deployments({"a.b": TABLE}, "rayflow.toml")
    with pytest.raises(BadConfig, match="has to be a table"):
        check_deployments({"genomics": "http://head:8265"}, "rayflow.toml")


def test_an_unknown_deployment_or_entry_is_an_error_where_it_is_called_with_what_there_is(project: Any) -> None:
    project.write("rayflow.toml", '[deployments.genomics]\naddress = "http://h:1"\nstore = "s3://b/s"\n'
                  'project = "far"\nentries = { align = "p.py:align" }\n')  # fmt: skip
    project.write("flow.py", "from rayflow import deployment_task\ndef make(*names): return deployment_task(*names)\n")
    make = project.load("flow").make
    assert isinstance(make("genomics", "align")(1), TaskCall)
    with pytest.raises(BadConfig, match=r"no deployment 'genomic' .*Did you mean 'genomics'\? There are: genomics"):
        make("genomic", "align")
    with pytest.raises(BadConfig, match=r"'genomics' has no entry 'sort'. There are: align"):
        make("genomics", "sort")
    project.write("rayflow.toml", "")
    with pytest.raises(BadConfig, match=r"Add \[deployments.NAME\]"):
        make("genomics", "align")


def test_a_token_is_read_where_the_settings_say(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("token", "abc\n")
    assert token_of(DeploymentSettings(**TABLE, token_file=str(project.path / "token"))) == "abc"
    monkeypatch.setenv("FAR_TOKEN", "def")
    assert token_of(DeploymentSettings(**TABLE, token_env="FAR_TOKEN")) == "def"
    monkeypatch.setenv("FAR_HEADERS", '{"X-Team": "a"}')
    assert headers_of(DeploymentSettings(**TABLE, headers_env="FAR_HEADERS")) == {"X-Team": "a"}
    project.write("headers", '["secret"]')
    with pytest.raises(BadConfig, match=r"headers is not a JSON object of texts by name") as refused:
        headers_of(DeploymentSettings(**TABLE, headers_file=str(project.path / "headers")))
    assert "secret" not in str(refused.value)
    with pytest.raises(BadConfig, match=r"The headers of the deployment .* the variable OTHER, which is not set"):
        headers_of(DeploymentSettings(**TABLE, headers_env="OTHER"))
    with pytest.raises(BadConfig, match="in the variable OTHER, which is not set"):
        token_of(DeploymentSettings(**TABLE, token_env="OTHER"))
    with pytest.raises(BadConfig, match=r"cannot be read from .*nowhere"):
        token_of(DeploymentSettings(**TABLE, token_file=str(project.path / "nowhere")))


def test_the_users_own_token_and_headers_are_not_sent_to_the_cluster_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    # Either of them would open this dashboard.
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.setenv("RAY_JOB_HEADERS", f'{{"Authorization": "Bearer {TOKEN}"}}')
    monkeypatch.setenv("FAR_TOKEN", "wrong")
    dashboard = PlayedDashboard()
    try:
        for more, text in (
            ({}, r"wants a token, and none was sent \(401\): set token_file or token_env of \[deployments.genomics\]"),
            ({"token_env": "FAR_TOKEN"}, r"another token .* \(403\): set token_file or token_env of \[deployments.gen"),
        ):
            settings = DeploymentSettings(**{**TABLE, "address": dashboard.address, **more})
            store: Any = SimpleNamespace(url="s3://b/s", find_execution=lambda _: None)
            with pytest.raises(ClusterUnavailable, match=text):
                FarExecution("genomics", settings, "p.py:align", store, "ID", lambda _: None).begin(bytes)
        # They go there where the settings name them: this dashboard now asks for the project.
        settings = DeploymentSettings(**{**TABLE, "address": dashboard.address, "headers_env": "RAY_JOB_HEADERS"})
        with pytest.raises(BadConfig, match=r"The project of the deployment 'genomics', .*far, is not on this machine"):
            FarExecution("genomics", settings, "p.py:align", store, "ID", lambda _: None).begin(bytes)
    finally:
        dashboard.server.shutdown()
        dashboard.server.server_close()


# --- the key ----------------------------------------------------------------------------------------------------------

FLOW = """
from rayflow import deployment_task, task

@task
def main(x):
    return deployment_task("genomics", "align")(x)
"""

MANY = """
from rayflow import deployment_task, task

align = deployment_task("genomics", "align")

@task
def main(x):
    return [align(n) for n in range(x)]
"""


class Asked:
    """Stands for the other side: notes the calls, and gives a value."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from rayflow.deployments import deployment_tasks

        self.calls: list[tuple[Any, ...]] = []
        monkeypatch.setattr(deployment_tasks, "carry_out", self.carry_out)

    def carry_out(
        self, deployment: str, entry: str, waits: bool, settings: Any, job: Any, args: Any, kwargs: Any
    ) -> Any:
        self.calls.append((deployment, entry, settings["address"], args))
        return sum(args)


def run_main(here: Any, value: int, scheduler_class: type[Scheduler] = Scheduler, **table: Any) -> Any:

    lines = "\n".join(f"{name} = {each!r}" for name, each in {**TABLE, **table}.items() if name != "entries")
    here.write("rayflow.toml", f"[deployments.genomics]\n{lines}\nentries = {{ align = 'p.py:align' }}\n")
    main = here.load("flow").main
    with scheduler_class(config=config.load(here.path, inline=True)) as scheduler:
        return scheduler.run(main(value))


@pytest.mark.slow
def test_version_and_arguments_count_for_the_key_and_the_address_does_not_and_is_the_present_one(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("flow.py", FLOW)
    asked = Asked(monkeypatch)
    assert run_main(project, 1) == 1
    assert run_main(project, 1, address="http://other:1", project="elsewhere", token_env="T") == 1
    assert len(asked.calls) == 1
    # The caller is cached each time; only its call is another one, and it has the address of now.
    assert run_main(project, 1, address="http://new:2", version=2) == 1
    assert asked.calls[1:] == [("genomics", "align", "http://new:2", (1,))]
    assert run_main(project, 2, version=2) == 2
    assert len(asked.calls) == 3
    assert run_main(project, 1) == 1
    assert len(asked.calls) == 3


def test_calls_of_a_deployment_hold_its_limit_whose_capacity_is_a_setting(project: Any) -> None:
    project.write("rayflow.toml", "limits = { db = 2 }\n")
    assert config.load(project.path).capacities == {"db": 2}
    tables = {"genomics": TABLE, "lab": {**TABLE, "max_calls": 40}}
    assert config.load(project.path, deployments=tables).capacities == {
        "db": 2, "deployments.genomics": 10, "deployments.lab": 40,
    }  # fmt: skip
    with pytest.raises(BadConfig, match=r"write max_calls into \[deployments.lab\]"):
        config.load(project.path, limits={"deployments.lab": 3})


@pytest.mark.parametrize("scheduler_class", [Scheduler, Rehearsal])
@pytest.mark.parametrize(("most", "held"), [(2, 3), (10, 0)])
def test_no_more_calls_of_a_deployment_wait_at_a_time_than_its_settings_say(
    project: Any, monkeypatch: pytest.MonkeyPatch, scheduler_class: type[Scheduler], most: int, held: int
) -> None:
    project.write("flow.py", MANY)
    Asked(monkeypatch)
    assert run_main(project, 5, scheduler_class, max_calls=most) == [0, 1, 2, 3, 4]
    waited = "count(*) filter (waited_on = 'limit deployments.genomics')"
    assert project.sql(f"select count(*), {waited} from jobs where task_name = 'rayflow.deployments.genomics'") == [
        (5, held)
    ]


def test_the_settings_are_in_the_context_only_where_there_are_any() -> None:
    assert context_of({}) == {}
    assert context_of({"genomics": TABLE}) == {"rayflow": {"deployments": {"genomics": TABLE}}}


# --- ids --------------------------------------------------------------------------------------------------------------


def test_an_id_is_a_uuid_that_follows_from_the_execution_and_the_call() -> None:
    here = "0197a3c2-51f0-7000-8000-000000000000"
    found = far_execution_id(here, "ab" * 20)
    assert str(uuid.UUID(found)) == found and uuid.UUID(found).version == 8
    assert found == far_execution_id(here, "ab" * 20)
    assert len({found, far_execution_id(here, "ac" * 20), far_execution_id(here[:-1] + "1", "ab" * 20)}) == 3
    assert job_id_of(found, 1) == f"rayflow-{found}" and job_id_of(found, 2) == f"rayflow-{found}-2"


# --- what is sent -----------------------------------------------------------------------------------------------------


@task
def align(reads: list[int], scale: int = 1) -> int:
    return sum(reads) * scale


def test_a_call_and_its_values_arrive_in_the_other_store_large_ones_as_blobs() -> None:
    import numpy

    store = open_store(":memory:")
    large = numpy.arange(100_000)
    name = send_call(store, [large, [1, 2]], {"scale": "x" * 5}, options={"cache": False}, tags={"a": "b"})
    package = read_call(store, name)

    def real(term: Any) -> Any:
        return realized(term, lambda ref: decode(from_bytes(ref.inline) if ref.inline else store.get_blob(ref.digest)))

    assert (real(package.args[0]) == large).all() and real(package.args[1]) == [1, 2]
    assert real(package.kwargs["scale"]) == "xxxxx" and package.tags == {"a": "b"}
    assert store.has_blob(package.args[0].digest)
    with pytest.raises(BadArguments, match="multiple values"):
        package.call_of(align)
    call = read_call(store, send_call(store, [[1]], {"scale": 2}, options={"cache": False}, tags={})).call_of(align)
    assert (call._task, call._args, call._kwargs, call._options) == (
        align.fullname, ([1],), {"scale": 2}, {"cache": False}
    )  # fmt: skip


@pytest.mark.parametrize("value", [align, [align.partial(scale=2)]])
def test_a_task_cannot_be_an_argument(value: Any) -> None:
    with pytest.raises(BadArguments, match="argument 1 of a call to another deployment holds"):
        send_call(open_store(":memory:"), [value], {}, options={}, tags={})


# --- following --------------------------------------------------------------------------------------------------------


class FarSide:
    """A store and a cluster by script: at each look the next row, and the next state of the job. An error is raised."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: list[Any], jobs: list[Any]) -> None:
        self.rows, self.jobs = iter(rows), iter(jobs)
        self.url, self.address = "s3://b/s", "http://head:8265"
        self.now = 0.0
        monkeypatch.setattr(far_executions, "JobApi", lambda *_, **__: self)
        monkeypatch.setattr(far_executions.time, "sleep", self.sleep)
        monkeypatch.setattr(far_executions.time, "monotonic", lambda: self.now)
        self.pauses: list[float] = []
        self.started: list[str] = []
        monkeypatch.setattr(far_executions, "start", lambda _, request, *__: self.started.append(request.submission_id))

    def ray_version(self) -> str:
        return "2.60.0"

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def find_execution(self, _: str) -> Any:
        return self._next(self.rows)

    def job(self, _: str) -> Any:
        return self._next(self.jobs)

    def log(self, _: RayJob) -> bytes:
        return b'noise of Ray\n::rayflow ID:: {"begun": {}}\nerror: no such store\n'

    @staticmethod
    def _next(script: Iterator[Any]) -> Any:
        found = next(script)
        if isinstance(found, Exception):
            raise found
        return found

    def execution(self, project: object = "far") -> FarExecution:
        settings = DeploymentSettings(**{**TABLE, "project": str(project)})
        return FarExecution("genomics", settings, "p.py:align", self, "ID", lambda _: None)  # type: ignore[arg-type]

    def follow(self) -> Any:
        return self.execution().end()


RUNNING = {"status": "running", "finished_at": None, "error": None, "life": 0}
DONE = {"status": "done", "finished_at": 1, "error": None, "life": 0}
FAILED = {"status": "failed", "finished_at": 1, "error": "ValueError: no", "life": 0}
LOST = {**FAILED, "error": "rayflow.errors.WorkerLost: its node left"}


def job(state: str, code: int | None = None) -> RayJob:
    return RayJob("rayflow-ID", state, code, "gone")


def test_an_execution_is_followed_with_growing_pauses_until_its_row_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    side = FarSide(monkeypatch, [None, *[RUNNING] * 30, DONE], [job("RUNNING")] * 31)
    assert side.follow() == DONE
    assert side.pauses == sorted(side.pauses) and side.pauses[0] < 0.5 and side.pauses[-1] == 10.0


def test_a_row_that_comes_with_the_end_of_the_job_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert FarSide(monkeypatch, [RUNNING, DONE], [job("SUCCEEDED", 0)]).follow() == DONE


@pytest.mark.parametrize(
    ("rows", "jobs", "kind", "text"),
    [
        ([FAILED], [], DeploymentFailed, "ID has failed at the deployment 'genomics': ValueError: no\nMore about it"),
        ([{**FAILED, "status": "cancelled"}], [], DeploymentFailed, "was cancelled at the deployment"),
        ([LOST], [], ClusterUnavailable, "ID has failed at the deployment 'genomics': rayflow.errors.WorkerLost: its"),
        ([None, None], [job("FAILED", 1)], DeploymentFailed, "has ended before the execution:\nerror: no such store"),
        ([RUNNING, RUNNING], [job("FAILED", -9)], ClusterUnavailable, "has ended before the execution"),
        ([RUNNING, RUNNING], [None], ClusterUnavailable, "does not know the job of execution ID any longer"),
    ],
)
def test_an_end_that_is_not_good_is_an_error_with_the_id(
    monkeypatch: pytest.MonkeyPatch, rows: list[Any], jobs: list[Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind) as error:
        FarSide(monkeypatch, rows, jobs).follow()
    assert type(error.value) is kind and text in str(error.value) and "noise" not in str(error.value)


def test_an_execution_that_the_world_has_ended_is_started_again_and_its_old_end_does_not_count(
    monkeypatch: pytest.MonkeyPatch, project: Any
) -> None:
    again = [{**RUNNING, "life": 1}, {**DONE, "life": 1}]
    # Both looks of `begin`, then those of `end`: the new job has not begun at first.
    side = FarSide(monkeypatch, [LOST, LOST, LOST, *again], [job("FAILED", 2), None, *[job("RUNNING")] * 2])
    far = side.execution(project.path)
    far.begin(bytes)
    assert side.started == ["rayflow-ID-2"] and far.end() == again[1]
    # Where the user's code has ended it, nothing is started.
    side = FarSide(monkeypatch, [FAILED, FAILED], [])
    far = side.execution(project.path)
    far.begin(bytes)
    with pytest.raises(DeploymentFailed):
        far.end()
    assert side.started == []


def test_a_job_that_ends_before_it_goes_on_with_what_the_world_has_ended_is_told(
    monkeypatch: pytest.MonkeyPatch, project: Any
) -> None:
    side = FarSide(monkeypatch, [LOST] * 4, [job("FAILED", 2), None, job("FAILED", 2)])
    far = side.execution(project.path)
    far.begin(bytes)
    with pytest.raises(ClusterUnavailable, match="has ended before the execution"):
        far.end()


def test_a_store_or_cluster_that_is_away_is_waited_for_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    away: list[Any] = [StoreUnavailable("away")] * 5
    assert FarSide(monkeypatch, [*away, RUNNING, DONE], [ClusterUnavailable("away")]).follow() == DONE
    side = FarSide(monkeypatch, [StoreUnavailable("away")] * 50, [])
    with pytest.raises(StoreUnavailable):
        side.follow()
    assert 60 < side.now < 80


def test_deployment_task_takes_names(project: Any) -> None:
    with pytest.raises(BadArguments, match="takes a name as text"):
        deployment_task(align, "align")  # type: ignore[arg-type]
