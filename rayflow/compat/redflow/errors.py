"""The errors of `rayflow.compat.redflow`.

In: nothing. Out: exception classes with redflow's names. Never: raises one of them.
"""

from __future__ import annotations

import datetime
from typing import Any

from rayflow.compat.redflow.durations import milliseconds_until
from rayflow.errors import NonRetriable, UserError
from rayflow.values.encoding.previews import preview


class RedflowError(UserError):
    """The base of the errors here. A run that has failed raises it with the run's own error as its cause.

    kind: a word for the class, as in the error of a run's state.
    """

    kind: str = "error"


class InputValidationError(RedflowError):
    """The input of a workflow, or a form that was to be filled in, does not fit its schema. The run is not tried again.

    issues: what the schema says, if anything.
    """

    kind = "validation"

    def __init__(self, message: str = "Workflow input validation failed", issues: Any = None) -> None:
        super().__init__(message)
        self.issues = issues


class UnknownWorkflowError(RedflowError):
    """No workflow has this name, as far as the service or this process has loaded them. workflow_name: the name."""

    kind = "unknown_workflow"

    def __init__(self, workflow_name: str) -> None:
        super().__init__(f"Unknown workflow: {workflow_name}")
        self.workflow_name = workflow_name

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.workflow_name,)


class CanceledError(RedflowError):
    """A run was cancelled. A handler that raises it ends its run as cancelled."""

    kind = "canceled"

    def __init__(self, message: str = "Run canceled") -> None:
        super().__init__(message)


class TimeoutError(RedflowError):  # redflow's name
    """A step, or a wait for a result, has taken too long."""

    kind = "timeout"

    def __init__(self, message: str = "Operation timed out") -> None:
        super().__init__(message)


class OutputSerializationError(RedflowError):
    """What a step has returned cannot be kept. The run is not tried again. cause_error: why it cannot."""

    kind = "serialization"

    def __init__(self, message: str = "Output cannot be kept", cause_error: Any = None) -> None:
        super().__init__(message)
        self.cause_error = cause_error


class NonRetriableError(RedflowError, NonRetriable):
    """A handler or a step raises this for an error that another attempt would meet again: the run fails at once."""

    kind = "non_retriable"


class RetryAfterError(RedflowError):
    """A handler or a step raises this to have the run tried again after a delay.

    retry_after: milliseconds, a text such as "30s", or a datetime. retry_after_ms: the delay, in milliseconds. Raises
    ValueError for anything else.
    """

    kind = "retry_after"

    def __init__(self, message: str, retry_after: int | float | str | datetime.datetime) -> None:
        super().__init__(message)
        self.retry_after_ms = _delay_of(retry_after, type(self).__name__)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.retry_after_ms)


def _delay_of(given: Any, where: str) -> int:
    found = milliseconds_until(given, datetime.datetime.now(datetime.UTC))
    if found is None:
        raise ValueError(
            f'{where}: retry_after is milliseconds, a text such as "30s", or a datetime, not {preview(given)}.'
        )
    return found


class RateLimitExceededError(RedflowError):
    """The rate limit of a workflow refuses a start, and no run was made. retry_after_ms: until there is room again."""

    kind = "rate_limit"

    def __init__(self, message: str = "Rate limit exceeded", retry_after_ms: int = 0) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.retry_after_ms)


class WaitForInputError(RedflowError):
    """A handler or a step raises this to have its run wait for a person: `raise wait_for_input(message, schema)`.

    schema: the class that the form must fit, such as a pydantic model or a dataclass; None for no form. Raises
    TypeError for anything else.
    """

    kind = "wait_for_input"

    def __init__(self, message: str, schema: Any | None = None) -> None:
        told = message.strip() or "Waiting for input"
        super().__init__(told)
        if schema is not None and not isinstance(schema, type):
            raise TypeError(
                f"wait_for_input: schema is a class that the form must fit, such as a pydantic model or a dataclass, "
                f"not {preview(schema)}."
            )
        self.input_message = told
        self.schema = schema

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.input_message, self.schema)


def wait_for_input(message: str, schema: Any | None = None) -> WaitForInputError:
    """The error to raise when a run has to wait for a person. message: what is asked. schema: the form's class."""
    return WaitForInputError(message, schema)
