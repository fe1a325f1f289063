"""Leases: one process at a time keeps the runs of a store, or evaluates an execution that has effects.

In: a folder, a name, and who asks. Out: the right to commit, and the loss of it. Never: knows rows, or compares the
clocks of two machines.

    lease/<name>/<epoch>         created once by the process that takes the lease: who it is, and its series
    lease/<name>/<epoch>.released
                                 it has given the lease back
    lease/<series>               its heartbeat, written again several times within the lease's seconds

The commits of a process with a lease form a series: each has the name that follows from the last one (`layout`), and is
created only if nothing has that name. A process that wants the lease of a silent holder watches its heartbeat for the
lease's whole duration, by its own clock. Then it creates the record of the next epoch, which only one process can do,
and a *fence*: an empty commit with the name of the old holder's next one. From then on the old holder cannot commit,
however late it wakes up, and all that it has committed is there to be read. So time decides only when somebody tries
to take over; names decide who may commit.

One process has one series, and any number of leases with it. Taking one of them over ends the whole series: its writer
was silent.
"""

from __future__ import annotations

import json
import math
import os
import socket
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from rayflow.errors import BlobDamaged, LeaseHeld, LeaseLost, StoreUnavailable
from rayflow.store import layout
from rayflow.store.folders.protocol import Folder, refuses_second_create
from rayflow.store.write.segments import Commit, encode_commit, is_commit, read_commit
from rayflow.values.digests import DIGEST_BYTES
from rayflow.values.filesystems.atomic_writes import is_alive_since, this_machine

SERVICE = "service"
"""The name of the lease of a store's service. Other leases are named by the id of an execution."""

LOCAL_LEASE_SECONDS = 6.0
"""How long a silent holder keeps its lease, in a store on this machine."""

REMOTE_LEASE_SECONDS = 20.0
"""The same in a store on a network."""

_RENEWALS = 4
"""How many heartbeats a holder writes within the lease's seconds."""

_TRUSTED = 0.5
"""The part of the lease's seconds for which a holder relies on its last renewal."""

_LEFT_SECONDS = 3600.0
"""A heartbeat without a record is left over if it is older: a holder writes it first."""

_RELEASED = ".released"

_LOOKS = 20
"""How often a waiting process looks at the heartbeat within the lease's seconds."""


class LeaseClock(Protocol):
    """The clock of one process. It goes on while the process is stopped."""

    def seconds(self) -> float:
        """Seconds since some moment."""
        ...

    def wait(self, seconds: float) -> None:
        """Return after this time."""
        ...


class SystemClock:
    """The clock of this machine since its start, the time in which it was suspended included."""

    def seconds(self) -> float:
        """Seconds since the machine was started."""
        clock = getattr(time, "CLOCK_BOOTTIME", None)
        return time.monotonic() if clock is None else time.clock_gettime(clock)

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)


class Holder(NamedTuple):
    """The record of an epoch. since: microseconds since the epoch, by the holder's clock; for people, and for the
    comparison with the start of a process of the same machine."""

    text: str
    host: str
    machine: str
    pid: int
    since: int
    seconds: float
    series: str
    began: int

    @property
    def is_dead(self) -> bool:
        """Whether it is known to have ended: it ran on this machine."""
        return self.machine == this_machine() and not is_alive_since(self.pid, self.since / 1e6)


class _Beat(NamedTuple):
    """A heartbeat. beats: how many were written with this one. number: of its writer's next commit."""

    beats: int
    number: int


def holder_of(folder: Folder, name: str, epoch: int) -> Holder | None:
    """Who took a lease in an epoch. None if there is no record, or only a part of one."""
    try:
        stated = json.loads(bytes(folder.read(layout.lease_path(name, epoch))))
        return Holder(**{field: stated[field] for field in Holder._fields})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


class Lease:
    """The leases of one process, and the series of its commits. Any thread may use it.

    holder: who asks, in words for people, such as "rayflow serve". seconds: how long others wait for a silent holder;
    by default 6 on a disk and 20 on a network.
    """

    def __init__(
        self, folder: Folder, holder: str, *, seconds: float | None = None, clock: LeaseClock | None = None
    ) -> None:
        self._folder = folder
        self._clock = clock or SystemClock()
        usual = REMOTE_LEASE_SECONDS if folder.remote else LOCAL_LEASE_SECONDS
        now_us = time.time_ns() // 1000
        self._me = Holder(
            text=holder,
            host=socket.gethostname(),
            machine=this_machine(),
            pid=os.getpid(),
            since=now_us,
            seconds=usual if seconds is None else seconds,
            series=layout.new_series(),
            began=now_us,
        )
        self._lock = threading.RLock()
        self._epochs: dict[str, int] = {}
        self._begun: dict[str, int] = {}
        """The epochs of the leases whose record was created: those that are held, and those whose taking has failed."""
        self._number = 0
        self._beats = 0
        self._renewed_at = -math.inf
        self._lost: str | None = None
        self._is_closed = False
        self._is_probed = False
        self._has_taken_over = False
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def series(self) -> str:
        """The name of its series: the writer's part of the ids of its commits."""
        return self._me.series

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the leases that it holds."""
        return tuple(self._epochs)

    @property
    def seconds(self) -> float:
        """How long others wait for this holder when it is silent."""
        return self._me.seconds

    @property
    def is_lost(self) -> bool:
        """Whether it is known that another process has taken over."""
        return self._lost is not None

    @property
    def has_taken_over(self) -> bool:
        """Whether a lease was taken from a holder that had not given it back: it was silent, or has ended."""
        return self._has_taken_over

    def epoch_of(self, name: str) -> int | None:
        """The number of this holder among all holders of a lease: greater than those of all before it. None if it does
        not hold the lease."""
        return self._epochs.get(name)

    # --- take and give back ------------------------------------------------------------------------------------------

    def take(self, name: str = SERVICE, *, wait: float = 0.0) -> None:
        """Take a lease. Afterwards no earlier holder can commit, and all that they have committed can be read.

        A holder that is silent is waited out: for its own lease's seconds, or not at all if it ran on this machine and
        has ended. wait: how many seconds to wait for a holder that is alive; `math.inf` for a standby. Raises LeaseHeld
        if it is alive for longer, StoreUnavailable if the store cannot be reached, or does not refuse to create a file
        a second time; then the call may be repeated.
        """
        self._probe()
        deadline = self._clock.seconds() + wait
        while name not in self._epochs:
            latest, held, holder = self._latest(name)
            if holder == self._me and name not in self._begun and not self._was_released(name, held):
                self._begun[name] = latest  # the answer to its creation was lost
            epoch = self._begun.get(name)
            if epoch is None:
                if holder is not None and not self._is_free(name, held, holder, deadline):
                    continue
                self._beat()
                epoch = latest + 1
                record = [json.dumps(self._me._asdict()).encode()]
                if not self._folder.create(layout.lease_path(name, epoch), record) and (
                    holder_of(self._folder, name, epoch) != self._me
                ):
                    continue
                self._begun[name] = epoch
            self._fence_others(name, epoch)
            with self._lock:
                self._epochs[name] = epoch
        self.renew()  # if somebody has waited for this process meanwhile, and fenced it, that finds it

    def release(self, name: str, *, is_over: bool = False) -> None:
        """Give a lease back: others need not wait. It can be taken again.

        is_over: nobody will ask for this lease again, so that no trace of it has to stay. Does not raise: what cannot
        be written is waited out by others.
        """
        with self._lock, suppress(StoreUnavailable):
            del self._begun[name]
            path = layout.lease_path(name, self._epochs.pop(name))
            if is_over:
                self._folder.remove(path)
            else:
                self._folder.overwrite(path + _RELEASED, [b""])

    def close(self) -> None:
        """Give back all leases. Nothing more can be committed. Does not raise, as `release`."""
        with self._lock:
            for name in self.names:
                self.release(name)
            self._is_closed = True
            self._ends.set()
            with suppress(StoreUnavailable):
                self._folder.remove(layout.heartbeat_path(self.series))
        if self._thread is not None:
            self._thread.join()

    # --- renew -------------------------------------------------------------------------------------------------------

    @property
    def is_due(self) -> bool:
        """Whether it is time to renew."""
        return self._clock.seconds() - self._renewed_at >= self._me.seconds / _RENEWALS

    def renew(self) -> None:
        """Write a heartbeat. Raises LeaseLost if another process has taken over, StoreUnavailable."""
        with self._lock:
            self._check_not_lost()
            now = self._clock.seconds()
            self._beat()
            for name, epoch in self._epochs.items():
                found = self._listed(name)
                if not found or found[-1] != epoch:
                    raise self._loss(name)
            self._renewed_at = now

    def renew_beside(self) -> None:
        """Renew in a thread, until it is closed or lost. The next commit raises what the thread found."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._renew_for_ever, name="rayflow-lease", daemon=True)
            self._thread.start()

    def _renew_for_ever(self) -> None:
        while not self._ends.wait(self._me.seconds / _RENEWALS):
            try:
                self.renew()
            except StoreUnavailable:
                continue  # the next commit finds that the lease was not renewed, and raises the error if it is still so
            except LeaseLost:
                return

    # --- commit ------------------------------------------------------------------------------------------------------

    def next_id(self) -> str:
        """The id that the next commit has to have."""
        return layout.id_in_series(self._me.series, self._me.began, self._number)

    def create(self, commit: Commit, encoded: Sequence[Any], earlier: Collection[bytes] = ()) -> bytes:
        """Write the next commit of the series. Returns the checksum of the commit that has its name now.

        earlier: the checksums of own attempts to write this commit of which the answers were lost: the commit that is
        there may be one of them. Raises LeaseLost if it is another process's, or if another process has taken over
        meanwhile; then nothing must be sent that depends on the commit. Raises StoreUnavailable if it is not known
        whether it was written: the next attempt has to have the same id.
        """
        with self._lock:
            self._check_not_lost()
            self._check_time()
            found = commit.checksum
            if not self._folder.create(commit.path, encoded):
                found = self._checksum_at(commit.path)
                if found != commit.checksum and found not in earlier:
                    raise self._loss(*self.names)
            self._check_time()
            self._number += 1
            return found

    def check(self) -> None:
        """Raise LeaseLost if another process has taken over. Asks the store only if this process may have been stopped
        since its last renewal: then it raises StoreUnavailable, too."""
        with self._lock:
            self._check_not_lost()
            self._check_time()

    def _check_time(self) -> None:
        """Renew if the last renewal is too long ago: this process may have been stopped. Raises as `renew`."""
        if self._clock.seconds() - self._renewed_at >= self._me.seconds * _TRUSTED:
            self.renew()

    def _check_not_lost(self) -> None:
        if self._lost is not None:
            raise LeaseLost(self._lost)
        if self._is_closed:
            raise LeaseLost(
                f"This process has given back its lease of the store {self._folder.url}: nothing more is recorded."
            )

    def _loss(self, *names: str) -> LeaseLost:
        """The error of the loss, from now on."""
        by = "another process"
        for name in names:
            with suppress(StoreUnavailable):
                *_, holder = self._latest(name)
                if holder is not None and holder != self._me:
                    by = _described(holder)
        self._lost = (
            f"{by} has taken over from this process, which was silent for more than {self._me.seconds:g} seconds, or "
            f"seemed to have ended. This process records nothing more in the store {self._folder.url}."
        )
        self._ends.set()
        return LeaseLost(self._lost)

    def _checksum_at(self, path: str) -> bytes:
        try:
            return bytes(self._folder.read(path)[-DIGEST_BYTES:])
        except FileNotFoundError as error:
            raise StoreUnavailable(f"{self._folder.url}/{path} was there and is gone") from error

    def _beat(self) -> None:
        self._beats += 1
        beat = _Beat(self._beats, self._number)
        self._folder.overwrite(layout.heartbeat_path(self.series), [json.dumps(beat._asdict()).encode()])

    # --- other holders -----------------------------------------------------------------------------------------------

    def _probe(self) -> None:
        if not self._is_probed and not refuses_second_create(self._folder):
            raise StoreUnavailable(
                f"The store {self._folder.url} does not refuse to create a file that exists already. So two processes "
                "could keep the same runs, and do the same effect twice. Use a disk with hard links, S3, or Google "
                "Cloud Storage. (Some servers that imitate these ignore the condition of a write.)"
            )
        self._is_probed = True

    def _listed(self, name: str) -> list[int]:
        """The epochs of a lease with a record, in order."""
        return sorted(int(each) for each in self._folder.names(layout.lease_directory(name)) if each.isdecimal())

    def _latest(self, name: str) -> tuple[int, int, Holder | None]:
        """The greatest epoch of a lease; the greatest one with a whole record, and its holder. (A record is not whole
        if the machine that wrote it has failed meanwhile.) Without a record, 0, 0 and None."""
        listed = self._listed(name)
        for epoch in reversed(listed):
            holder = holder_of(self._folder, name, epoch)
            if holder is not None:
                return listed[-1], epoch, holder
        return (listed[-1] if listed else 0), 0, None

    def _was_released(self, name: str, epoch: int) -> bool:
        return self._folder.size(layout.lease_path(name, epoch) + _RELEASED) is not None

    def _beat_of(self, series: str) -> _Beat | None:
        try:
            stated = json.loads(bytes(self._folder.read(layout.heartbeat_path(series))))
            return _Beat(**{field: stated[field] for field in _Beat._fields})
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _is_free(self, name: str, epoch: int, holder: Holder, deadline: float) -> bool:
        """Watch a holder until its lease may be taken; False if there is another holder meanwhile. Raises LeaseHeld."""
        beat = self._beat_of(holder.series)
        silent_since = self._clock.seconds()
        while True:
            if holder.is_dead or self._was_released(name, epoch):
                return True
            self._clock.wait(min(1.0, holder.seconds / _LOOKS))
            looked_at = self._clock.seconds()
            latest = self._beat_of(holder.series)
            if self._latest(name)[1] != epoch:
                return False
            if latest == beat:
                if looked_at - silent_since >= holder.seconds:
                    return True
                continue
            beat, silent_since = latest, self._clock.seconds()
            if silent_since >= deadline and not self._was_released(name, epoch):
                raise LeaseHeld(_held_text(name, holder, self._folder.url))

    def _fence_others(self, name: str, epoch: int) -> None:
        """Make sure that no other holder of this lease commits any more, then remove their records."""
        others = {each: holder_of(self._folder, name, each) for each in self._listed(name) if each < epoch}
        for each, other in others.items():
            if other is not None and other.series != self.series and not self._was_released(name, each):
                self._fence(other)
                self._has_taken_over = True
                self._folder.remove(layout.heartbeat_path(other.series))
        for each in others:
            self._folder.remove(layout.lease_path(name, each))
            self._folder.remove(layout.lease_path(name, each) + _RELEASED)

    def _fence(self, other: Holder) -> None:
        """Take the name of the next commit of a series. The files of the last ones may have been merged and removed:
        then the heartbeat tells how many there were."""
        beat = self._beat_of(other.series)
        number = 0 if beat is None else beat.number
        written = [each for each in self._folder.names(layout.COMMITS) if layout.series_of(each) == other.series]
        if written:
            number = max(number, layout.id_time(max(written)) - other.began + 1)
        while True:
            fence, encoded = encode_commit(layout.id_in_series(other.series, other.began, number), ())
            if self._folder.create(fence.path, encoded) or self._checksum_at(fence.path) == fence.checksum:
                break
            number += 1
        if number:
            self._put_aside_if_torn(layout.id_in_series(other.series, other.began, number - 1))

    def _put_aside_if_torn(self, commit_id: str) -> None:
        """Move the last commit of a holder out of the way if its machine failed while it was written: nobody was told
        that it was written."""
        try:
            read_commit(self._folder, commit_id)
        except FileNotFoundError:
            return
        except BlobDamaged:
            self._folder.set_aside(layout.commit_path(commit_id), is_commit)


def left_files(folder: Folder, forgotten: Collection[str] = ()) -> list[str]:
    """The files of leases that nobody needs: those of the leases of these executions, and the heartbeats of series of
    which no record is left."""
    files = folder.sizes(layout.LEASES)
    records = [path for path in files if path.count("/") == 2]
    left = [path for path in records if path.split("/")[1] in forgotten]
    known = set()
    for path in set(records).difference(left):
        _, name, epoch = path.split("/")
        if epoch.isdecimal() and (holder := holder_of(folder, name, int(epoch))) is not None:
            known.add(holder.series)
    beats = [path for path in files if path.count("/") == 1 and path.rpartition("/")[2] not in known]
    old = [path for path in beats if (folder.age_seconds(path) or 0.0) > _LEFT_SECONDS]
    return sorted([*left, *old])


def _described(holder: Holder) -> str:
    return f"{holder.text} (process {holder.pid} on {holder.host})"


def _held_text(name: str, holder: Holder, url: str) -> str:
    since = datetime.fromtimestamp(holder.since / 1e6, UTC).isoformat(" ", "seconds")
    what = f"the runs of the store {url}" if name == SERVICE else f"execution {name}"
    return (
        f"{_described(holder)} keeps {what} since {since}. Only one process can do so at a time: end that one first. "
        f"If it is lost, its lease ends {holder.seconds:g} seconds after its last sign."
    )
