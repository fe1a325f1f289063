"""Every error and warning that users can meet, sorted by whose fault it is.

In: nothing. Out: exception classes. Never: logic.

There are three base classes: `UserError` (the user has to change something; exit code 1), `WorldError` (the world
outside failed; exit code 2) and `Bug` (rayflow is wrong; exit code 3). Each docstring says when the error is raised,
and what to do. Inside the evaluator the error of a task is a value; only `Bug` is raised there.
"""

from __future__ import annotations


class RayflowError(Exception):
    """Base of every error that rayflow raises on purpose."""

    exit_code = 1


class UserError(RayflowError):
    """Something in the user's code, arguments or configuration is wrong: change it and run again."""

    exit_code = 1


class WorldError(RayflowError):
    """The world outside failed: a disk, a network, a worker. Running again may help."""

    exit_code = 2


class Bug(AssertionError):
    """rayflow itself is wrong: please report it, with the message, which ends with the story of the job."""

    exit_code = 3


class RayflowWarning(UserWarning):
    """Base of every warning that rayflow gives: the execution goes on, but differs from what the user may expect."""


# --- the user's fault: tasks and calls --------------------------------------------------------------------------------


class NoSuchTask(UserError):
    """A task name was given that no module defines. The message offers the nearest names."""


class DuplicateTask(UserError):
    """Two functions define tasks of one full name. The message names both places: rename one of them."""


class BadTask(UserError, TypeError):
    """`@task` was used on a function that cannot be a task, or on something else. The message says where and why."""


class BadOption(UserError):
    """A task option is unknown, or its value has the wrong type. The message offers the nearest name."""


class BadForm(UserError):
    """The rule of a form gave an answer that it may not give. The message says which answers are allowed."""


class BadArguments(UserError, TypeError):
    """A call does not fit the signature, or a text on the command line cannot be read as the parameter's type."""


class ArgumentChanged(UserError, ValueError):
    """A large argument was changed after the call and before its evaluation. Pass a copy of it to the call."""


class LazyValueUsed(UserError, TypeError):
    """A lazy expression was used where Python needs its value (`if`, `in`, formatting). The message says what to do."""


class CyclicCall(UserError, RecursionError):
    """A call needs its own result, which is not computed yet. The message names the calls of the cycle."""


class TooDeep(UserError, RecursionError):
    """Calls are nested deeper than allowed, mostly by endless recursion. The message names the calls that repeat."""


class NestedRun(UserError, RuntimeError):
    """`run` was called inside a task's body, or at the top level of a module that workers import; or a hundred subruns
    are nested in each other. In a body, return the expression, or use `subrun`."""


class UnsteadyBody(UserError):
    """The body of an async task awaits other expressions each time that it starts again, so that it would never end.
    Its expressions may depend only on its arguments and on earlier results."""


# --- the user's fault: what a task does -------------------------------------------------------------------------------


class TaskFailed(UserError):
    """A task raised an exception that cannot be rebuilt in this process. Type, message and traceback are its text."""


class DeploymentFailed(UserError):
    """An execution that a call of `deployment_task` has started elsewhere has failed, or was cancelled. The message has
    its id, and its own error."""


class NonRetriable(UserError):
    """A task's body raises this, or a class derived from it, for an error that another attempt would meet again. The
    job fails at once, whatever its `retries` are."""


class OutcomeUnknown(UserError):
    """An attempt of an effect has started, and nobody knows whether it has done its work. With `on_unknown="fail"` it
    is not made again: find out what has happened outside, then retry or cancel the run."""


class EffectChanged(UserError):
    """The body of an async task does not come again to an effect that it has done, and asks for one of the same task
    with other arguments. The message names both."""


class EffectMisplaced(UserError):
    """An effect or a wait stands where it cannot be kept: below `prov=False`, `no_prov`, `check_valid="shallow"`, in a
    `subrun` or a thread. The message says what to do."""


class Cancelled(UserError):
    """The execution was cancelled before it ended: run again to go on."""


class NotSerializable(UserError, TypeError):
    """A value cannot be stored or sent to another process. The message names the part, and says what to do."""


class SecretUnavailable(UserError, LookupError):
    """A secret cannot be read in this process, or its reference is wrong. The message never holds the secret's text."""


class FileMissing(UserError, FileNotFoundError):
    """A File does not exist that a task returned, or wants to read on this machine."""


class FileGone(UserError, FileNotFoundError):
    """A value that a run has pinned names a File that is gone or was changed since. `retry` with `refresh` makes it
    again."""


class DirectoryNotEmpty(UserError, OSError):
    """`Dir.rmdir` found something in the directory. `Dir.remove` deletes a directory with all that is in it."""


class FileConflict(UserError):
    """Two tasks of one execution wrote to one path. The message names both: give them different paths."""


class ScriptFailed(UserError):
    """A script ended with an error, or did not write a promised output. The message has the end of its stderr.

    code: its exit code, negative for a signal; None when that was good. command: the script. stderr: the end of it.
    """

    code: int | None = None
    command: str = ""
    stderr: str = ""


# --- the user's fault: configuration and questions --------------------------------------------------------------------


class BadConfig(UserError):
    """A setting in a configuration file, an environment variable or a flag is wrong. The message names it."""


class BadModule(UserError):
    """A module or class of a workflow cannot be found or imported. The message says why."""


class BadProject(UserError):
    """The project cannot be sent to a cluster: it is too large, or holds a file that cannot be read or packed."""


class NotFound(UserError, LookupError):
    """The store has no record of this id or name."""


class BadQuery(UserError):
    """DuckDB refuses a SQL query (the message is DuckDB's own), or the text is not a single query."""


# --- the user's fault: durable runs -----------------------------------------------------------------------------------


class NeedsService(UserError):
    """A plain run has met a wait that only a service can keep: `rayflow serve` starts one."""


class RunConflict(UserError):
    """A run of this id exists that is another one: it has another input, hangs on another run, or must not exist. Also:
    a run is not in the state that a request needs. The message says which."""


class RateLimited(UserError):
    """The rate limit of a flow refuses a start, and no run was made. retry_after: seconds until there is room."""

    retry_after: float = 0.0


class EventConflict(UserError):
    """An event of this id was accepted before, with another name, key or data. Nothing was recorded."""


class EventRefused(UserError):
    """The data of an event do not fit a flow that it would start, and the event was to be refused then."""


class NoOpenAsk(UserError, LookupError):
    """An answer fits no open `ask` of the run, or fits several. The message lists those that are open."""


class RunCancelled(UserError):
    """A run that another one waited for was cancelled."""


# --- nobody's fault ---------------------------------------------------------------------------------------------------


class StoreUnavailable(WorldError, OSError):
    """A store or file cannot be read or written: disk full or read-only, access denied, server not reachable."""


class OutputUnavailable(WorldError, OSError):
    """The command line cannot write to its stdout, because a disk is full for example."""


class BlobMissing(WorldError, LookupError):
    """A record names a blob that the store does not hold. `rayflow store check` lists such records."""


class BlobDamaged(WorldError):
    """The content of a stored file does not match its checksum. `rayflow store check` finds all damaged files."""


class VersionMismatch(WorldError):
    """A newer rayflow has written the store, or client and cluster have different versions. Use the same version."""


class LeaseHeld(WorldError):
    """Another process keeps the runs of the store, or evaluates the execution. The message says which."""


class LeaseLost(WorldError):
    """Another process has taken over what this one was doing, so this one records nothing more."""


class ClusterUnavailable(WorldError, ConnectionError):
    """No Ray cluster answers at the given address, none can be started on this machine, or an execution that a call of
    `deployment_task` has started on another cluster was lost there."""


class ClusterLost(ClusterUnavailable):
    """The cluster of an execution is gone. The message says how to go on on another one."""


class ServiceUnavailable(WorldError, ConnectionError):
    """No service answers, or what answers is none. `rayflow serve` starts one."""


class WorkerLost(WorldError):
    """The worker of a task was lost in every attempt: it crashed, was killed, ran out of memory, or its node left."""


class TaskTimeout(WorldError, TimeoutError):
    """A task ran longer than its option `timeout` allows."""


# --- rayflow's fault --------------------------------------------------------------------------------------------------


class WrongMove(Bug):
    """A job was to change its state in a way that the table of moves does not have."""


class Unanswered(Bug):
    """Jobs are open, but nothing is in flight that could end them."""
