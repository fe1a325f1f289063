"""From what is known of a cluster to what is wrong with it, and what to do.

In: facts. Out: findings, one for each thing that was looked at or is wrong. Never: asks a cluster, a store, a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rayflow.runtime.durations import duration
from rayflow.runtime.on_ray.doctor.node_probe import SETTINGS
from rayflow.store.trial import StoreTrial
from rayflow.values.encoding.previews import few

OK, WARNING, FAILURE = "ok", "warning", "failure"
"""The levels: as it should be; worse than it could be; a run would fail, or not end."""

SLOW_WRITE_SECONDS = {False: 0.2, True: 1.0}
"""A small file that takes longer to write makes runs slow: on a file system, and behind a URL."""

SLOW_RATE = 10e6
"""Fewer bytes a second make tasks with large values slow."""

CLOCK_SECONDS = 2.0
"""Clocks that differ by more make times in the records wrong."""

MOST_CLOCK_SECONDS = 300.0
"""Clocks that differ by more are refused by object stores, and mix up which record is the newest."""

LEAST_SHM_BYTES = 1 << 30
"""Containers have 64 MB by default: then Ray keeps its objects on the disk."""

LEAST_DISK_SHARE = 0.05
"""With less free space than this share Ray makes no objects on a node's disk."""

LOW_DISK_BYTES = 5_000_000_000
"""Less free space than this will soon be full."""

IN_MEMORY = frozenset({"tmpfs", "ramfs"})
"""File systems whose files are gone when the machine starts again."""

_TIME, _TIMEOUT, _UV = SETTINGS


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What is known of one node.

    error: why nothing else is known. rayflow: its version; None where it cannot be imported there, with rayflow_error.
    missing: modules that the project imports and the node lacks. trial, store_error: how the store does from there.
    clock_ahead, clock_within: seconds that its clock is ahead of the driver's, and how exact that is. shm_bytes,
    object_bytes: the shared memory, and what Ray keeps of objects there. disk: path, whole size and free bytes of the
    place of Ray's session. settings: environment variables (`node_probe.SETTINGS`).
    """

    name: str
    error: str | None = None
    python: str = ""
    ray: str = ""
    rayflow: str | None = None
    rayflow_error: str | None = None
    missing: tuple[str, ...] = ()
    trial: StoreTrial | None = None
    store_error: str | None = None
    clock_ahead: float = 0.0
    clock_within: float = 0.0
    shm_bytes: int = 0
    object_bytes: float = 0.0
    disk: tuple[str, int, int] | None = None
    settings: Mapping[str, str | None] = field(default_factory=dict)
    has_uv: bool = False


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What is known of a cluster, from a driver.

    address: as it was named; None for a Ray of this machine. refused: why the cluster could not be joined.
    has_token: whether the driver sends a token. python, ray, rayflow, settings: of the driver. under_uv: whether Ray
    would let workers start by `uv run`, too. store: its place; is_url: whether that is a URL. store_error: why the
    driver cannot use it. modules: what the project imports. installs: whether [environment] installs packages on the
    workers, or names an image.
    """

    address: str | None
    store: str
    python: str
    ray: str
    rayflow: str
    nodes: tuple[NodeFacts, ...] = ()
    refused: str | None = None
    has_token: bool = False
    is_url: bool = False
    store_error: str | None = None
    settings: Mapping[str, str | None] = field(default_factory=dict)
    under_uv: bool = False
    modules: tuple[str, ...] = ()
    installs: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report. subject: what was looked at. text: what was found. advice: what to do."""

    level: str
    subject: str
    text: str
    advice: str | None = None


def findings_of(facts: ClusterFacts) -> list[Finding]:
    """Everything that was looked at, in the order in which a run would meet it."""
    where = facts.address or "this machine"
    if facts.refused is not None:
        return [_refused(facts, where)]
    known = [node for node in facts.nodes if node.error is None]
    count = len(facts.nodes)
    token = "with the token" if facts.has_token else "which asks for no token"
    found = [Finding(OK, "reachable", f"{where}, {token}: {count} node{'s' if count != 1 else ''}")]
    found += [
        Finding(FAILURE, "node", f"{node.name} does not run a task: {node.error}", "look at Ray's logs there")
        for node in facts.nodes
        if node.error is not None
    ]
    if not facts.nodes:
        found.append(Finding(FAILURE, "node", "no node is alive", "start one with `ray start --address`"))
    found += _versions(facts, known)
    found += _store(facts, known)
    found += _clocks(known)
    found += _memory(known)
    found += _disks(known)
    found += _settings(facts, known)
    found += _uv(facts, known)
    found += _packages(facts, known)
    return found


def fails(findings: Iterable[Finding]) -> bool:
    """Whether something would fail a run."""
    return any(each.level == FAILURE for each in findings)


def _refused(facts: ClusterFacts, where: str) -> Finding:
    text = str(facts.refused)
    subject = "token" if "token" in text else "versions" if " runs Ray " in text else "reachable"
    advice = None
    if where.endswith((":8265", ":8266")):
        advice = "this is the usual port of the dashboard; a run joins the control service (GCS), usually port 6379"
    return Finding(FAILURE, subject, text, advice)


def _versions(facts: ClusterFacts, nodes: Sequence[NodeFacts]) -> list[Finding]:
    found: list[Finding] = []
    without = [node for node in nodes if node.rayflow is None]
    for error, names in _by(without, lambda node: node.rayflow_error or "it is not installed").items():
        text = f"{names} cannot import rayflow: {error}"
        found.append(Finding(FAILURE, "versions", text, f"install rayflow {facts.rayflow} on every node"))
    wrong = {
        "rayflow": [node for node in nodes if node.rayflow not in (None, facts.rayflow)],
        "Ray": [node for node in nodes if node.ray != facts.ray],
        "Python": [node for node in nodes if _minor(node.python) != _minor(facts.python)],
    }
    here = {"rayflow": facts.rayflow, "Ray": facts.ray, "Python": facts.python}
    for what, others in wrong.items():
        for version, names in _by(others, lambda node: _version(node, what)).items():  # noqa: B023  used at once
            text = f"{names} has {what} {version}, and this process {here[what]}"
            found.append(Finding(FAILURE, "versions", text, f"use the same {what} everywhere"))
    patches = [node for node in nodes if node not in wrong["Python"] and node.python != facts.python]
    for version, names in _by(patches, lambda node: node.python).items():
        text = f"{names} has Python {version}, and this process {facts.python}"
        found.append(Finding(WARNING, "versions", text, "use the same Python everywhere: Ray warns of it, too"))
    if nodes and not found:
        said = f"Python {facts.python}, Ray {facts.ray}, rayflow {facts.rayflow} everywhere"
        found.append(Finding(OK, "versions", said))
    return found


def _version(node: NodeFacts, what: str) -> str:
    return {"rayflow": str(node.rayflow), "Ray": node.ray, "Python": node.python}[what]


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _store(facts: ClusterFacts, nodes: Sequence[NodeFacts]) -> list[Finding]:
    if facts.store_error is not None:
        return [Finding(FAILURE, "store", f"this process cannot use {facts.store}: {facts.store_error}", _STORE_ADVICE)]
    found: list[Finding] = []
    failing = [node for node in nodes if node.store_error is not None]
    for error, names in _by(failing, lambda node: str(node.store_error)).items():
        found.append(Finding(FAILURE, "store", f"{names} cannot use the store: {error}", _STORE_ADVICE))
    trials = [(node, node.trial) for node in nodes if node.trial is not None]
    slow = [node for node, trial in trials if trial.write_seconds > SLOW_WRITE_SECONDS[facts.is_url]]
    slow += [node for node, trial in trials if node not in slow and trial.write_rate < SLOW_RATE]
    for node in slow:
        assert node.trial is not None
        text = f"{node.name} reaches {facts.store} slowly: {_speed(node.trial)}"
        advice = "keep the store nearer: a bucket of the same region, or a faster shared folder"
        found.append(Finding(WARNING, "store", text, advice))
    in_memory = [node for node, trial in trials if trial.filesystem in IN_MEMORY]
    for kind, names in _by(in_memory, lambda node: str(node.trial and node.trial.filesystem)).items():
        text = f"{facts.store} is in memory ({kind}) on {names}: what is recorded is gone when the machine restarts"
        found.append(Finding(WARNING, "store", text, "name a folder on a disk, or a URL"))
    if trials and not found:
        slowest = max((trial for _, trial in trials), key=lambda trial: trial.write_seconds)
        found.append(Finding(OK, "store", f"{facts.store} from every node: {_speed(slowest)} where it is slowest"))
    return found


_STORE_ADVICE = (
    "name a store that all nodes reach, and may write: a shared folder, or a URL such as s3://bucket/results with "
    "credentials on every node"
)


def _speed(trial: StoreTrial) -> str:
    return (
        f"a small write {trial.write_seconds * 1000:.1f} ms, a small read {trial.read_seconds * 1000:.1f} ms, "
        f"{trial.write_rate / 1e6:,.0f} MB/s to it, {trial.read_rate / 1e6:,.0f} MB/s from it"
    )


def _clocks(nodes: Sequence[NodeFacts]) -> list[Finding]:
    found: list[Finding] = []
    for node in nodes:
        off = max(0.0, abs(node.clock_ahead) - node.clock_within)
        if off <= CLOCK_SECONDS:
            continue
        side = "ahead of" if node.clock_ahead > 0 else "behind"
        text = f"the clock of {node.name} is {duration(off)} {side} this one"
        level = FAILURE if off > MOST_CLOCK_SECONDS else WARNING
        found.append(Finding(level, "clocks", text, "run a time service (chrony, systemd-timesyncd) on every node"))
    if nodes and not found:
        widest = max(abs(node.clock_ahead) for node in nodes)
        found.append(Finding(OK, "clocks", f"at most {widest * 1000:.0f} ms apart"))
    return found


def _memory(nodes: Sequence[NodeFacts]) -> list[Finding]:
    small = [node for node in nodes if node.shm_bytes and node.shm_bytes < max(LEAST_SHM_BYTES, node.object_bytes)]
    found: list[Finding] = []
    for node in small:
        text = (
            f"/dev/shm of {node.name} has {_size(node.shm_bytes)}, and Ray's objects there may take "
            f"{_size(node.object_bytes)}"
        )
        advice = "give the container more (docker --shm-size, an emptyDir in Memory): else objects go to the disk"
        found.append(Finding(WARNING, "shared memory", text, advice))
    if nodes and not found:
        least = min(node.shm_bytes for node in nodes)
        found.append(Finding(OK, "shared memory", f"{_size(least)} or more on every node"))
    return found


def _disks(nodes: Sequence[NodeFacts]) -> list[Finding]:
    found: list[Finding] = []
    disks = [(node.name, *node.disk) for node in nodes if node.disk is not None and node.disk[1]]
    for name, path, size, free in disks:
        if free / size < LEAST_DISK_SHARE:
            text = f"{path} on {name} is full: {_size(free)} of {_size(size)} are free, and Ray wants a twentieth"
            found.append(Finding(FAILURE, "disk", text, "free some space, or start Ray with another --temp-dir"))
        elif free < LOW_DISK_BYTES:
            text = f"{path} on {name} has only {_size(free)} free"
            found.append(Finding(WARNING, "disk", text, "free some space: Ray spills large objects there"))
    if disks and not found:
        least = min(free for *_, free in disks)
        found.append(Finding(OK, "disk", f"{_size(least)} or more free for Ray on every node"))
    return found


def _settings(facts: ClusterFacts, nodes: Sequence[NodeFacts]) -> list[Finding]:
    if len(nodes) < 2:
        return []
    said = {name: {node.settings.get(name) for node in nodes} for name in (_TIME, _TIMEOUT)}
    differing = [name for name, values in said.items() if len(values) > 1]
    if differing:
        text = f"nodes differ in {few(differing)}: a server refuses pings that come sooner than it expects"
        return [Finding(WARNING, "keep-alive", text, "set them alike for `ray start` on all nodes, and for drivers")]
    if None in said[_TIME]:
        text = "a silent node is noticed by Ray only after seven minutes (rayflow runs its calls elsewhere after 20 s)"
        return [Finding(WARNING, "keep-alive", text, f"set {_TIME}=10000 and {_TIMEOUT}=5000 on all nodes")]
    (time,) = said[_TIME]
    if facts.settings.get(_TIME) != time:
        text = f"the nodes have {_TIME}={time}, and this process {facts.settings.get(_TIME) or 'none'}"
        return [Finding(WARNING, "keep-alive", text, "set it here, too")]
    return [Finding(OK, "keep-alive", f"pings after {time} ms, alike on all nodes")]


def _uv(facts: ClusterFacts, nodes: Sequence[NodeFacts]) -> list[Finding]:
    if not facts.under_uv:
        return []
    without = [node.name for node in nodes if not node.has_uv]
    advice = f"set {_UV}=0"
    if without:
        text = f"this process runs under `uv run`, so Ray starts workers by uv, which is missing on {few(without)}"
        return [Finding(FAILURE, "uv", text, advice)]
    text = "this process runs under `uv run`, so Ray sends the directory, and builds an environment for every worker"
    return [Finding(WARNING, "uv", text, advice)]


def _packages(facts: ClusterFacts, nodes: Sequence[NodeFacts]) -> list[Finding]:
    found: list[Finding] = []
    lacking = [node for node in nodes if node.missing]
    for names, on in _by(lacking, lambda node: few(node.missing)).items():
        text = f"{on} lacks what the project imports: {names}"
        if facts.installs:
            found.append(Finding(WARNING, "packages", text, "check that [environment] brings them"))
        else:
            found.append(Finding(FAILURE, "packages", text, "install them there, or name them in [environment]"))
    if nodes and not found and facts.modules:
        found.append(Finding(OK, "packages", f"{few(facts.modules)}: on every node"))
    return found


def _by(nodes: Iterable[NodeFacts], key: Callable[[NodeFacts], str]) -> dict[str, str]:
    """Names of the nodes, by what they have in common."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        found.setdefault(key(node), []).append(node.name)
    return {each: few(names) for each, names in found.items()}


def _size(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,.0f} bytes"
