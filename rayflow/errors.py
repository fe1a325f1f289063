"""Every error a user can meet, sorted by whose fault it is.

In: nothing. Out: exception classes. Never: logic.

Three roots: `UserError` (yours to fix, exit code 1), `WorldError` (nobody's fault, exit code 2) and `Bug` (ours, exit
code 3). Inside the evaluator a task's error is a value; only `Bug` is ever raised there.
"""

from __future__ import annotations


class RayflowError(Exception):
    """The root of every error that rayflow raises on purpose."""

    exit_code = 1


class UserError(RayflowError):
    """Something in the user's code, arguments or configuration has to change."""

    exit_code = 1


class WorldError(RayflowError):
    """The world outside failed: a disk, a network, a worker. Trying again may help."""

    exit_code = 2


class Bug(AssertionError):
    """A mistake in rayflow itself; the message ends with the story of the job it happened to."""

    exit_code = 3


# --- yours to fix -----------------------------------------------------------------------------------------------------


class NoSuchTask(UserError):
    """A task name that nothing defines; the message offers the nearest names."""


class DuplicateTask(UserError):
    """Two different functions under one full name; the message names both places."""


class BadArguments(UserError, TypeError):
    """A call that does not fit the task's signature, or text that does not parse as the parameter's type."""


class BadOption(UserError):
    """An unknown task option (the message offers the nearest name) or a value of the wrong type."""


class BadConfig(UserError):
    """A configuration file, environment variable or flag that does not make sense."""


class BadModule(UserError):
    """A workflow module that cannot be found or does not import."""


class NotSerializable(UserError, TypeError):
    """A value that cannot be kept or sent; the message says which part of it and how to mend it."""


class SecretUnavailable(UserError, LookupError):
    """A secret that cannot be read where it is asked for, or a reference that names none; never holds its text."""


class LazyValueUsed(UserError, TypeError):
    """A lazy expression was used where a value is needed (`if`, `in`, formatting); the message says what to write."""


class NestedRun(UserError, RuntimeError):
    """`run()` was called inside a task's body, where the expression should be returned instead; or a hundred subruns
    stand in each other."""


class CyclicCall(UserError, RecursionError):
    """A call that needs its own pending result; the message names the cycle."""


class UnsteadyBody(UserError):
    """The body of an async task awaits other expressions each time that it is entered, so that it never ends."""


class TaskFailed(UserError):
    """A task raised an exception that cannot be raised here as itself; type, message and traceback are kept as text."""


class Cancelled(UserError):
    """The execution was cancelled before it ended."""


class BadForm(UserError):
    """The rule of a form that breaks its contract; the message says what a rule has to answer."""


class FileMissing(UserError, FileNotFoundError):
    """A File that has to be there and is not: a task returned it, or reads it where it cannot be seen."""


class FileConflict(UserError):
    """Two tasks of one execution wrote one path; the message names both."""


class ScriptFailed(UserError):
    """A script ended with an error, or did not write what it promised; the message has the end of what it said.

    code: its exit code, negative for a signal; None when that was good. command: the script. stderr: the end of that.
    """

    code: int | None = None
    command: str = ""
    stderr: str = ""


class NotFound(UserError, LookupError):
    """An id, name or record that the store does not hold."""


class BadQuery(UserError):
    """SQL that DuckDB refuses (the message is DuckDB's own), or that is not one query."""


# --- nobody's fault ---------------------------------------------------------------------------------------------------


class StoreUnavailable(WorldError, OSError):
    """The store cannot be read or written: read-only or full disk, denied or unreachable."""


class BlobMissing(WorldError, LookupError):
    """A blob that a record names is not in the store."""


class BlobDamaged(WorldError):
    """A stored file whose content does not match its checksum."""


class VersionMismatch(WorldError):
    """The store was written by a newer rayflow, or client and cluster do not fit together."""


class ClusterUnavailable(WorldError, ConnectionError):
    """No Ray cluster answers at the address given, or one cannot be started here."""


class WorkerLost(WorldError):
    """The worker of a task was lost in every attempt: crashed, killed, out of memory, or its node left."""


class TaskTimeout(WorldError, TimeoutError):
    """A task ran longer than its `timeout` allows."""


# --- ours -------------------------------------------------------------------------------------------------------------


class WrongMove(Bug):
    """A job was asked to make a move that the table of moves does not hold."""


class Unanswered(Bug):
    """Work is open but nothing is in flight that could end it."""
