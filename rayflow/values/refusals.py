"""What to tell of a remote that refuses: which path, what it said, and what to do.

In: an error of a client library. Out: a sentence for people. Never: imports a client library; hides a missing file.
"""

from __future__ import annotations

import socket

from rayflow.values.local_files import Told

_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "ProfileNotFound"}
_DENIED = {"PermissionError", "AccessDenied", "RefreshError"}
_NO_ANSWER = {
    "ConnectionError", "TimeoutError", "FSTimeoutError", "HTTPClientError", "EndpointConnectionError",
    "ClientConnectorError", "ClientConnectionError", "ConnectTimeoutError", "ReadTimeoutError",
}  # fmt: skip
"""Names of the classes that client libraries raise; these libraries are not imported to ask for them."""

_CREDENTIALS = {
    "s3": "see AWS_ACCESS_KEY_ID, AWS_PROFILE and ~/.aws there",
    "gs": "see GOOGLE_APPLICATION_CREDENTIALS and `gcloud auth application-default login` there",
}
_ENDPOINTS = {"s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST"}
_SAME = {"s3a": "s3", "gcs": "gs"}


class ToldRemotely(Told):
    """As Told, for whatever the client library of a remote raises."""

    refusals = Exception

    def reason(self, error: Exception) -> str:
        """What the client library said, and what to do."""
        advice = advice_for(self.path, error)
        said = ": ".join(filter(None, (type(error).__name__, str(error).removesuffix("."))))
        return f"{said}.{advice and ' ' + advice}"

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        refusal = behind(self.path, error)
        super().__exit__(kind if refusal is None else type(refusal), error if refusal is None else refusal, trace)


def behind(url: str, error: BaseException | None) -> Exception | None:
    """What is behind a file on the web that is said to be missing, when it is not that: fsspec says so of whatever a
    web server refuses, and of servers that do not answer."""
    if not isinstance(error, FileNotFoundError) or not url.startswith(("http://", "https://")):
        return None
    cause = error.__cause__
    if not isinstance(cause, Exception) or isinstance(cause, FileNotFoundError) or _status(cause) in (404, 410):
        return None
    return cause


def bucket_of(url: str) -> str | None:
    """The URL of the bucket that a URL is in; None where there are no buckets."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}" if _SAME.get(scheme, scheme) in _CREDENTIALS else None


def no_bucket_text(bucket: str) -> str:
    """What to say of a bucket that is not there."""
    return f"there is no bucket {bucket}: mend its name, or create it."


def advice_for(url: str, error: Exception) -> str:
    """What to do about this refusal; empty where nothing is known."""
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
    """The HTTP status of an answer, where the error has it."""
    known = getattr(error, "status", None) or vars(error).get("code")
    return int(known) if isinstance(known, int | str) and str(known).isdigit() else None
