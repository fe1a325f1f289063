"""Speaks with a cluster's job API: packages, jobs, their logs.

In: the address of the dashboard, a token. Out: what the cluster answers, or one clear error within seconds. Never:
imports Ray; tries again by itself.

The log of a job is read through the dashboard's log service, which sends the bytes of a file as they come. The job
API's own endpoint gives the whole text each time, and its websocket ends seconds after the job.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, NoReturn, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from rayflow.errors import BadConfig, ClusterUnavailable, NotFound
from rayflow.runtime.on_ray.connection import ray_settings

T = TypeVar("T")

ANSWER_SECONDS = 10.0
"""How long the cluster may take to answer a question, to the last byte."""

LIST_SECONDS = 60.0
"""How long the list of all jobs may take."""

MOST_ANSWER_BYTES = 256 << 20
"""What answers a question with more is not the dashboard of a cluster. The log of a job may be longer."""

UPLOAD_SECONDS = 600.0
"""How long sending a package may take."""

USERS_TOKEN_PLACE = "set RAY_AUTH_TOKEN_PATH to the cluster's token file, or RAY_AUTH_TOKEN"
"""Where the token of the user's cluster is named."""

LOG_PAUSE_SECONDS = 0.1
"""How often the cluster looks for new lines in a log that is followed."""

PREFIX = "rayflow-"
"""The beginning of the ids of our jobs; the id of the execution follows, and a number in a further job of it."""

EXECUTION = "rayflow_execution"
"""The name of the execution's id in the metadata of our jobs."""

STORE = "rayflow_store"
"""The name of the store in the metadata of our jobs."""

ENDED = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
"""The states of a job that has ended."""


class NoAnswer(ClusterUnavailable):
    """The cluster has not answered, so that it is not known what it has done."""


@dataclass(frozen=True, slots=True)
class RayJob:
    """What a cluster says of a job.

    submission_id: its id. state: PENDING, RUNNING, or one of ENDED. exit_code: of its program, if that has ended.
    message: why it is in this state. node_id: where its program runs, as soon as that is known. metadata: what was
    given with it. started_at: in milliseconds since 1970. runtime_env: the environment in which its program runs.
    """

    submission_id: str
    state: str
    exit_code: int | None = None
    message: str = ""
    node_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    started_at: int = 0
    runtime_env: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether the job has ended."""
        return self.state in ENDED

    @property
    def execution_id(self) -> str:
        """The id of the execution that it works at. That of a further job of an execution has a number behind it."""
        return self.metadata.get(EXECUTION) or self.submission_id.removeprefix(PREFIX)

    @property
    def store(self) -> str | None:
        """The store that it records to; None for a job that is not ours."""
        return self.metadata.get(STORE)


def users_token() -> str | None:
    """The token that the user has for clusters of others, as Ray finds it; None where there is none, or tokens are
    switched off."""
    mine = ray_settings.users()
    if (mine[ray_settings.MODE] or "").lower() == "disabled":
        return None
    return ray_settings.token_in(mine, any_mode=True)


def users_headers() -> dict[str, str]:
    """The headers that the user wants to be sent, for a proxy that asks who he is: RAY_JOB_HEADERS, as in Ray's own
    tools. Raises BadConfig."""
    text = os.environ.get("RAY_JOB_HEADERS")
    return headers_in(text, "The variable RAY_JOB_HEADERS") if text else {}


def headers_in(text: str, place: str) -> dict[str, str]:
    """The headers that a text holds. place: where it stands, for the error. Raises BadConfig."""
    try:
        headers = json.loads(text)
    except ValueError:
        headers = None
    if not isinstance(headers, dict):
        # Without the text itself: it may hold a password, and errors are recorded.
        raise BadConfig(f"{place} is not a JSON object of texts by name.")
    return {str(name): str(value) for name, value in headers.items()}


def base_of(address: str) -> str:
    """The URL of a dashboard, from the address as people write it. Raises BadConfig."""
    text = address.strip()
    if "://" not in text:
        text = f"http://{text}"
    parts = urlsplit(text)
    try:
        is_place = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_place = False
    if not is_place or ("://" not in address and parts.port is None):
        raise BadConfig(
            f"{address!r} is not the address of a cluster's dashboard: write http://HEAD:8265. A cluster behind a "
            "firewall is reached through a tunnel, `ssh -L 8265:127.0.0.1:8265 HEAD`, at http://127.0.0.1:8265."
        )
    return text.rstrip("/")


class JobApi:
    """The job API of one cluster.

    address: of its dashboard. token: what it asks for; None where it asks for none. headers: for a proxy before it.
    token_place: what a user has to do to give the token, for the error that asks for it.
    """

    def __init__(
        self, address: str, token: str | None = None, headers: Mapping[str, str] | None = None, *,
        token_place: str = USERS_TOKEN_PLACE,
    ) -> None:  # fmt: skip
        self.address = base_of(address)
        self._token_place = token_place
        self._has_token = token is not None
        self._has_answered = False
        self._headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        proxy = _proxy_for(self.address)
        self._place = (
            self.address if proxy is None else f"{self.address} (through the proxy {_without_password(proxy)})"
        )
        proxies = {} if proxy is None else {urlsplit(self.address).scheme: proxy}
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler(proxies), _NoRedirect()]
        if self.address.startswith("https:"):
            handlers.append(urllib.request.HTTPSHandler(context=_trust()))
        self._opener = urllib.request.build_opener(*handlers)

    def ray_version(self) -> str:
        """The version of the cluster's Ray. Raises ClusterUnavailable when this is no dashboard of Ray."""
        status, body = self._ask("GET", "/api/version")
        if status != 200:
            raise self._stranger(f"it says {status} to /api/version")
        return self._read_as(lambda told: str(told["ray_version"]), body, "/api/version")

    # --- packages -----------------------------------------------------------------------------------------------------

    def has_package(self, uri: str) -> bool:
        """Whether the cluster has a package. If so, it keeps it for the next minutes."""
        status, body = self._ask("GET", f"/api/packages/{_in_path(uri)}")
        if status not in (200, 404):
            raise self._refused("be asked for a package", status, body)
        return status == 200

    def send_package(self, uri: str, path: str) -> bool:
        """Send a zip file. False when the cluster, or a proxy before it, takes none of this size."""
        with open(path, "rb") as stream:
            status, body = self._ask(
                "PUT", f"/api/packages/{_in_path(uri)}", stream, seconds=UPLOAD_SECONDS,
                headers={"Content-Length": str(os.path.getsize(path)), "Content-Type": "application/octet-stream"},
            )  # fmt: skip
        if status == 413:
            return False
        if status != 200:
            raise self._refused("take the project", status, body)
        return True

    # --- jobs ---------------------------------------------------------------------------------------------------------

    def submit(
        self, submission_id: str, entrypoint: str, runtime_env: Mapping[str, Any], metadata: Mapping[str, str]
    ) -> bool:
        """Start a job. False when the cluster has one of this id already."""
        request = {
            "submission_id": submission_id, "entrypoint": entrypoint, "runtime_env": runtime_env, "metadata": metadata,
        }  # fmt: skip
        status, body = self._ask("POST", "/api/jobs/", json.dumps(request).encode(), seconds=60.0)
        if status == 200:
            return True
        if b"already exists" in body:
            return False
        raise self._refused("start the job", status, body)

    def job(self, submission_id: str) -> RayJob | None:
        """What the cluster says of a job; None when it has none of this id."""
        status, body = self._ask("GET", f"/api/jobs/{quote(submission_id, safe='')}")
        if status == 404:
            return None
        if status != 200:
            raise self._refused("be asked for the job", status, body)
        return self._read_as(_job, body, "/api/jobs/ID")

    def jobs(self) -> list[RayJob]:
        """All submitted jobs that the cluster remembers, the latest first."""
        status, body = self._ask("GET", "/api/jobs/", seconds=LIST_SECONDS)
        if status == 404:
            raise self._stranger("it says 404 to /api/jobs/")
        if status != 200:
            raise self._refused("list its jobs", status, body)
        found = self._read_as(
            lambda told: [_job(each) for each in told if each.get("submission_id")], body, "/api/jobs/"
        )
        return sorted(found, key=lambda job: -job.started_at)

    def stop(self, submission_id: str) -> None:
        """Ask the cluster to end a job. Nothing happens to one that has ended."""
        status, body = self._ask("POST", f"/api/jobs/{quote(submission_id, safe='')}/stop")
        if status != 200:
            raise self._refused("stop the job", status, body)

    # --- logs ---------------------------------------------------------------------------------------------------------

    def log(self, job: RayJob) -> bytes:
        """All that a job has printed until now; nothing where it has not begun."""
        if job.node_id is None:
            return b""
        status, body = self._ask("GET", self._log_path(job, "file"), seconds=60.0, is_long=True)
        if status != 200:
            raise self._refused("give the job's log", status, body)
        return body

    def follow_log(self, job: RayJob) -> Iterator[bytes]:
        """What a job has printed, and then what it prints, in pieces, without end. The job has begun."""
        request = self._request("GET", f"{self._log_path(job, 'stream')}&interval={LOG_PAUSE_SECONDS}")
        try:
            with self._open(request, None) as got:
                while piece := got.read1(1 << 16):
                    yield piece
        except (OSError, http.client.HTTPException) as error:
            raise ClusterUnavailable(f"{self.address} sends the job's log no longer: {error}") from None

    def _log_path(self, job: RayJob, kind: str) -> str:
        asked = {"node_id": job.node_id, "filename": f"job-driver-{job.submission_id}.log", "lines": -1}
        return f"/api/v0/logs/{kind}?{urlencode(asked)}"

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    def _ask(
        self, method: str, path: str, data: Any = None, *, seconds: float | None = None, is_long: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:  # fmt: skip
        """The status and the body of an answer. Raises ClusterUnavailable if there is none, or if it is about the
        token.

        seconds: how long it may take, if not ANSWER_SECONDS. is_long: it may have any length, and take so long for each
        piece of it.
        """
        request = self._request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        seconds = ANSWER_SECONDS if seconds is None else seconds
        end = None if is_long else time.monotonic() + seconds
        try:
            with self._open(request, seconds) as got:
                status, body = got.status, self._body(got, end)
                self._has_answered = True
                return status, body
        except urllib.error.HTTPError as error:
            with contextlib.closing(error):
                body = self._body(error, end)
            if error.code in (401, 403):
                raise ClusterUnavailable(self._locked(error.code)) from None
            return error.code, body
        except ClusterUnavailable:  # which is an OSError, too
            raise
        except http.client.IncompleteRead:
            raise NoAnswer(f"The answer of {self._place} breaks off in the middle.") from None
        except (http.client.HTTPException, ConnectionResetError) as error:
            if self._has_answered:
                name = type(error).__name__
                raise NoAnswer(f"The dashboard at {self.address} has broken off the connection ({name}).") from None
            raise NoAnswer(
                f"Something answers at {self._place}, but it does not speak HTTP ({type(error).__name__}). Is it the "
                "port of the cluster's control service (GCS, 6379), which a run joins from inside its network? From "
                "elsewhere the port of the dashboard is needed: http://HEAD:8265; https:// where a proxy wants it."
            ) from None
        except OSError as error:
            raise NoAnswer(self._unreachable(error)) from None

    def _body(self, got: Any, end: float | None) -> bytes:
        """The body of an answer. Raises ClusterUnavailable for one that goes on after a moment, or without end."""
        pieces: list[bytes] = []
        size = 0
        while piece := got.read1(1 << 20):
            pieces.append(piece)
            size += len(piece)
            if end is not None and time.monotonic() > end:
                raise NoAnswer(self._unreachable(TimeoutError()))
            if end is not None and size > MOST_ANSWER_BYTES:
                raise self._stranger("its answer does not end")
        if got.length:  # the part that is missing, which `read1` does not complain of
            raise http.client.IncompleteRead(b"", got.length)
        return b"".join(pieces)

    def _read_as(self, form: Callable[[Any], T], body: bytes, path: str) -> T:
        """What an answer in JSON says. Raises ClusterUnavailable for one that is not of this form."""
        try:
            return form(json.loads(body))
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
            raise self._stranger(f"what it answers to {path} is not what a dashboard does") from None

    def _stranger(self, reason: str) -> ClusterUnavailable:
        return ClusterUnavailable(
            f"{self._place} answers, but it is not the dashboard of a Ray cluster ({reason}). Is the port right? The "
            "dashboard's is 8265, if `ray start` was given no other."
        )

    def _request(
        self, method: str, path: str, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> urllib.request.Request:
        every = {**self._headers, **(headers or {})}
        return urllib.request.Request(f"{self.address}{path}", data=data, headers=every, method=method)

    def _open(self, request: urllib.request.Request, seconds: float | None) -> http.client.HTTPResponse:
        opened: http.client.HTTPResponse = self._opener.open(request, timeout=seconds)
        return opened

    def _unreachable(self, error: OSError) -> str:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            return (
                f"The certificate of {self._place} is not trusted: {reason.verify_message}. Name the file with the "
                "certificate of its authority in SSL_CERT_FILE, or in REQUESTS_CA_BUNDLE as for Ray's own tools."
            )
        if isinstance(reason, ssl.SSLError):
            return (
                f"{self._place} does not speak HTTPS ({reason.reason or reason}). A dashboard itself speaks HTTP: name "
                f"http://{urlsplit(self.address).netloc}, unless a proxy before it has another port."
            )
        if isinstance(reason, http.client.HTTPException | ConnectionResetError):
            reason = "it does not speak HTTP"
        text = "it does not answer in time" if isinstance(reason, TimeoutError) else getattr(reason, "strerror", None)
        return (
            f"No dashboard of a Ray cluster can be reached at {self._place}: {text or reason}. It is part of "
            "ray[default], and `ray start --head` starts it on port 8265 of 127.0.0.1, unless --dashboard-host=0.0.0.0 "
            "is given. From elsewhere, make a tunnel, `ssh -L 8265:127.0.0.1:8265 HEAD`, and name http://127.0.0.1:8265."
        )

    def _locked(self, status: int) -> str:
        if self._has_token:
            return (
                f"The Ray cluster at {self.address} wants another token than the one that was sent ({status}): "
                f"{self._token_place}."
            )
        return f"The Ray cluster at {self.address} wants a token, and none was sent ({status}): {self._token_place}."

    def _refused(self, what: str, status: int, body: bytes) -> ClusterUnavailable:
        lines = [line for line in body.decode("utf-8", "replace").strip().splitlines() if line.strip(" .")]
        reason = lines[-1][:500] if lines else "it says nothing more"
        return ClusterUnavailable(f"The Ray cluster at {self.address} cannot {what} ({status}): {reason}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect. The token and the headers would go along, to whatever host an answer names; and a request
    that starts a job would become one that only asks."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> NoReturn:
        fp.close()
        asked, named = urlsplit(req.full_url), urlsplit(newurl)
        here, there = (f"{parts.scheme}://{parts.netloc}" for parts in (asked, named))
        if named.path != asked.path:  # another page, such as that for a login
            there += named.path
        raise ClusterUnavailable(
            f"{here} is not the dashboard itself: it sends requests on to {there}, and rayflow does not follow, since "
            "the token would go along. If that is the dashboard, name that address; it may be a proxy's login page."
        )


def _is_loopback(address: str) -> bool:
    """Whether a URL is a place on this machine, such as the end of a tunnel, to which no proxy leads."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost" or host.endswith(".localhost")


def _proxy_for(address: str) -> str | None:
    """The URL of the proxy that the environment names for an address; None for a direct way."""
    parts = urlsplit(address)
    if _is_loopback(address) or urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _without_password(url: str) -> str:
    return url.rpartition("@")[2] if "@" in url else url


def _trust() -> ssl.SSLContext:
    """The authorities whose certificates count: those of the system, or of SSL_CERT_FILE and SSL_CERT_DIR, and those of
    REQUESTS_CA_BUNDLE. Raises BadConfig."""
    context = ssl.create_default_context()
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        path = os.environ.get(name)
        try:
            if path and os.path.isdir(path):
                context.load_verify_locations(capath=path)
            elif path:
                context.load_verify_locations(cafile=path)
        except OSError as error:  # among them ssl.SSLError
            raise BadConfig(
                f"{name} names {path}, where no certificates can be read: {error.strerror or error}."
            ) from None
    return context


def job_of(api: JobApi, text: str) -> RayJob:
    """The latest job of an execution. text: the id of the execution, its beginning, or `-` for the last one; or the id
    of one job. Raises NotFound."""
    ours = [job for job in api.jobs() if job.submission_id.startswith(PREFIX)]
    name = "" if text == "-" else text.removeprefix(PREFIX)
    latest: dict[str, RayJob] = {}
    for job in ours:  # the latest first
        if job.submission_id == text:
            return job
        if job.execution_id.startswith(name):
            latest.setdefault(job.execution_id, job)
    if len(latest) > 1 and text != "-":
        listed = ", ".join(list(latest)[:5])
        raise NotFound(f"{text} is the beginning of several executions at {api.address}: {listed}.")
    if not latest:
        which = "no job that `rayflow submit` has started" if text == "-" else f"no job of an execution {text}"
        raise NotFound(f"The Ray cluster at {api.address} has {which}. A cluster forgets its jobs when it ends.")
    return next(iter(latest.values()))


def _in_path(uri: str) -> str:
    scheme, _, name = uri.partition("://")
    return f"{scheme}/{quote(name)}"


def _job(told: Mapping[str, Any]) -> RayJob:
    code, node = told.get("driver_exit_code"), told.get("driver_node_id")
    return RayJob(
        submission_id=str(told["submission_id"]),
        state=str(told["status"]),
        exit_code=None if code is None else int(code),
        message=str(told.get("message") or ""),
        node_id=None if node is None else str(node),
        metadata={str(name): str(text) for name, text in (told.get("metadata") or {}).items()},
        started_at=int(told.get("start_time") or 0),
        runtime_env=dict(told.get("runtime_env") or {}),
    )
