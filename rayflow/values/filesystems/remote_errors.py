"""Errors of remotes, in words: the path, the remote's message, and what to do.

In: an error of a client library. Out: StoreUnavailable with a sentence for people. Never: imports a client library;
changes FileNotFoundError for a file that is missing.
"""

from __future__ import annotations

import socket

from rayflow.values.filesystems.local import AsStoreUnavailable
from rayflow.values.process.waits import waiting

_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "ProfileNotFound"}
_DENIED = {"PermissionError", "AccessDenied", "RefreshError"}
_NO_ANSWER = {
    "ConnectionError", "TimeoutError", "FSTimeoutError", "HTTPClientError", "EndpointConnectionError",
    "ClientConnectorError", "ClientConnectionError", "ConnectTimeoutError", "ReadTimeoutError",
}  # fmt: skip
"""Names of error classes of client libraries, which are not imported only to compare classes."""

_CREDENTIALS = {
    "s3": "see AWS_ACCESS_KEY_ID, AWS_PROFILE and ~/.aws there",
    "gs": "see GOOGLE_APPLICATION_CREDENTIALS and `gcloud auth application-default login` there",
}
_ENDPOINTS = {"s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST"}
_SAME = {"s3a": "s3", "gcs": "gs"}


class RemoteAsStoreUnavailable(AsStoreUnavailable):
    """The same as AsStoreUnavailable, but for any error of a remote's client library. It also reports long waits."""

    refusals = Exception

    def __init__(self, action: str, path: str) -> None:
        super().__init__(action, path)
        self._waiting = waiting_for(action, path)

    def __enter__(self) -> None:
        self._waiting.__enter__()

    def ended(self) -> None:
        """End the wait: the remote has answered."""
        self._waiting.__exit__()

    def reason(self, error: Exception) -> str:
        """The message of the client library, and what to do."""
        advice = advice_for(self.path, error)
        said = ": ".join(filter(None, (type(error).__name__, str(error).removesuffix("."))))
        return f"{said}.{advice and ' ' + advice}"

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.ended()
        refusal = behind(self.path, error)
        super().__exit__(kind if refusal is None else type(refusal), error if refusal is None else refusal, trace)


def waiting_for(action: str, url: str) -> waiting:
    """A wait for the answer of a remote."""
    return waiting(f"an answer to: {action} {url}", whom="/".join(url.split("/", 3)[:3]))


def behind(url: str, error: BaseException | None) -> Exception | None:
    """The real error behind a FileNotFoundError for a file on the web; None if the file is missing.

    fsspec raises FileNotFoundError for every refusal of a web server, and for servers that do not answer.
    """
    if not isinstance(error, FileNotFoundError) or not url.startswith(("http://", "https://")):
        return None
    cause = error.__cause__
    if not isinstance(cause, Exception) or isinstance(cause, FileNotFoundError) or _status(cause) in (404, 410):
        return None
    return cause


def bucket_of(url: str) -> str | None:
    """The URL of the bucket of a URL; None for a scheme without buckets."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}" if _SAME.get(scheme, scheme) in _CREDENTIALS else None


def no_bucket_text(bucket: str) -> str:
    """The message about a bucket that does not exist."""
    return f"there is no bucket {bucket}: mend its name, or create it."


def advice_for(url: str, error: Exception) -> str:
    """Advice for this error; empty if there is none."""
    scheme = url.partition(":")[0]
    scheme = _SAME.get(scheme, scheme)
    names = {each.__name__ for each in type(error).__mro__}
    host = socket.gethostname()
    how = _CREDENTIALS.get(scheme, "")
    if names & _NO_CREDENTIALS:
        return f"This process on {host} has no credentials for it{how and ': ' + how}."
    if names & _DENIED or _status(error) in (401, 403) or str(error).startswith("Forbidden"):
        hides = ""
        if scheme == "s3" and str(error) == "Forbidden":
            hides = " S3 says so of what is not there, too, to those who may not list the bucket."
        return f"The credentials of this process on {host} do not permit it{how and ': ' + how}.{hides}"
    if "NotImplementedError" in names:
        return "Such a place does not offer that."
    if "FileExpired" in names:
        return "It was changed while it was read. Run again when whoever writes it is done."
    if names & _NO_ANSWER:
        endpoint = f", and {_ENDPOINTS[scheme]}" if scheme in _ENDPOINTS else ""
        return f"It does not answer {host}: check the network{endpoint}."
    return ""


def _status(error: Exception) -> int | None:
    """The HTTP status in an error; None if it has none."""
    known = getattr(error, "status", None) or vars(error).get("code")
    return int(known) if isinstance(known, int | str) and str(known).isdigit() else None
