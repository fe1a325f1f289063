"""The operations of the API: the one table that routes, checks and the OpenAPI document are made of.

In: nothing. Out: `OPERATIONS`. Never: answers a request (`http_api` has a method for each operation).
"""

from __future__ import annotations

from rayflow.client.wire import LONGEST_POLL_SECONDS, MOST_PAGE
from rayflow.config import MOST_SLOTS
from rayflow.service.api_table import ApiField, ApiOperation
from rayflow.service.run_queries import STATES

MOST_TEXT = 10_000
"""The greatest length of a name, a key, an id or a reason."""


def _text(name: str, meaning: str, *, is_required: bool = False, least: int | None = None) -> ApiField:
    return ApiField(name, "text", meaning, is_required=is_required, least=least, most=MOST_TEXT)


FILTERS = (
    ApiField("state", "text", "only runs in one of these states", many=True, choices=STATES),
    ApiField("flow", "text", "only runs of these flows: full name, or the last part of it", many=True, most=MOST_TEXT),
    ApiField("tag", "text", "only runs with these tags, each as KEY=VALUE", many=True, most=MOST_TEXT),
    _text("text", "only runs with this text in their id, arguments, tags, error, reason or result"),
    ApiField("since", "moment", "only runs that were requested then or later"),
    ApiField("until", "moment", "only runs that were requested before"),
    _text("id_prefix", "only runs whose id, or the id that their starter gave them, begins so"),
)
"""The fields that choose runs."""

_PAGE = (
    ApiField("limit", "integer", "how many items at most", default=50, least=1, most=MOST_PAGE),
    _text("cursor", "the `next` of the page before"),
)

_BULK = (
    *FILTERS,
    ApiField("latest", "integer", "only runs up to this number: the `latest` of a dry request", least=0, most=2**62),
    ApiField("dry", "flag", "only say how many runs that would be", default=False),
    _text("reason", "why: it is recorded with each run"),
)

_REASON = _text("reason", "why: it is recorded with the run")
_DUE_AT = ApiField("due_at", "moment", "when; at once without it")

OPERATIONS: tuple[ApiOperation, ...] = (
    ApiOperation(
        "POST",
        "/api/runs",
        "start",
        "Start a run of a task by its name, or of a packed expression. The request id makes repeated requests one run.",
        "Started",
        body=(
            _text("task", "the name of a task that the service knows", least=1),
            ApiField("arguments", "object", "its arguments by name, read by the type hints of its parameters"),
            ApiField("words", "text", "its arguments as on a command line", many=True),
            ApiField("directory", "text", "where the words were typed: paths in them are relative to it"),
            ApiField("root", "text", "a packed expression in base64, instead of task and arguments"),
            ApiField("shown", "text", "the expression as text, for people"),
            _text("id", "the run's own id: a second start with it gives the same run", least=1),
            ApiField(
                "reuse",
                "text",
                "what an id means that has a run already",
                default="return",
                choices=("return", "reject", "if_failed"),
            ),
            _DUE_AT,
            _text("queue", "its queue; that of the flow without it", least=1),
            ApiField(
                "priority",
                "integer",
                "greater ones go first in a queue; that of the flow without it",
                least=-1_000_000,
                most=1_000_000,
            ),
            ApiField("tags", "object", "tags of the run, by name"),
        ),
    ),
    ApiOperation("GET", "/api/runs", "runs", "The runs that a filter means, newest first.", "RunPage", FILTERS + _PAGE),
    ApiOperation(
        "POST",
        "/api/runs/cancel",
        "cancel_many",
        "End all runs that a filter means, as far as they have not ended. None of them is asked a second time.",
        "Bulk",
        body=_BULK,
    ),
    ApiOperation(
        "POST",
        "/api/runs/retry",
        "retry_many",
        "Have all failed and cancelled runs that a filter means go on.",
        "Bulk",
        body=_BULK,
    ),
    ApiOperation("GET", "/api/runs/{run}", "run", "One run, and why it is where it is.", "Run"),
    ApiOperation("GET", "/api/runs/{run}/history", "history", "The transitions of a run.", "History"),
    ApiOperation(
        "GET",
        "/api/runs/{run}/result",
        "result",
        "What a run has come to.",
        "Result",
        query=(
            ApiField(
                "wait",
                "number",
                f"how many seconds to wait for its end; {LONGEST_POLL_SECONDS:g} at most",
                default=0,
            ),
        ),
    ),
    ApiOperation("GET", "/api/runs/{run}/streams", "streams", "What the bodies of a run write.", "StreamList"),
    ApiOperation(
        "GET",
        "/api/runs/{run}/streams/{stream}",
        "stream_items",
        "The items of a stream after a number. As text/event-stream it goes on until the run has ended, and "
        "Last-Event-ID stands in for `after`.",
        "StreamPage",
        query=(
            ApiField("after", "integer", "the number of the last item that is known", least=0, most=2**62),
            ApiField("limit", "integer", "how many items at most", default=MOST_PAGE, least=1, most=MOST_PAGE),
            ApiField(
                "wait",
                "number",
                f"how many seconds to wait for an item; {LONGEST_POLL_SECONDS:g} at most",
                default=0,
            ),
        ),
    ),
    ApiOperation(
        "POST",
        "/api/runs/{run}/cancel",
        "cancel",
        "End a run. A second request ends its clean-up, too.",
        "Cancelled",
        body=(_REASON,),
    ),
    ApiOperation(
        "POST", "/api/runs/{run}/retry", "retry", "Have a failed or cancelled run go on.", "Retried", body=(_REASON,)
    ),
    ApiOperation(
        "POST",
        "/api/runs/{run}/fork",
        "fork",
        "Start another run from what a run has done: all of it, but what is released.",
        "Started",
        body=(
            ApiField("at", "text", "what is done anew, and all below it: places, by id or name of task", many=True),
            ApiField("arguments", "object", "other arguments by name; the run's own ones stay else"),
            ApiField("words", "text", "the same as on a command line", many=True),
            ApiField("directory", "text", "where the words were typed"),
            _text("id", "the new run's own id", least=1),
            ApiField("tags", "object", "tags of the new run; those of the old one without it"),
        ),
    ),
    ApiOperation(
        "POST",
        "/api/runs/{run}/answer",
        "answer",
        "Answer a question of a run to a person.",
        "Answered",
        body=(
            ApiField("value", "anything", "the answer: plain data that fit the question's form"),
            _text("place", "which question, if several are open: the beginning of its place"),
        ),
    ),
    ApiOperation("GET", "/api/asks", "asks", "The open questions to people.", "AskPage", _PAGE),
    ApiOperation(
        "POST",
        "/api/events",
        "emit",
        "Emit an event. Its id, or the request id, makes repeated requests one event.",
        "Event",
        body=(
            _text("name", "the event's name", is_required=True, least=1),
            _text("key", "the key that waits may ask for"),
            ApiField("data", "anything", "what has happened: plain data"),
            _text("id", "the event's own id", least=1),
            _DUE_AT,
            ApiField("strict", "flag", "refuse it if it does not fit one of its subscribers", default=False),
        ),
    ),
    ApiOperation(
        "GET",
        "/api/events",
        "events",
        "The latest events, newest first.",
        "EventPage",
        (_text("name", "only events of this name"), *_PAGE),
    ),
    ApiOperation("GET", "/api/events/{event}", "event", "An event and its deliveries.", "Event"),
    ApiOperation(
        "POST",
        "/api/events/{event}",
        "webhook",
        "Take in a webhook of this name: signed, without a token.",
        "Accepted",
        takes="bytes",
        access="signature",
    ),
    ApiOperation("GET", "/api/schedules", "schedules", "The schedules, by name.", "ScheduleList"),
    ApiOperation(
        "GET",
        "/api/schedules/{schedule}",
        "schedule",
        "One schedule, with its next moments, its changes, and its latest firings.",
        "Schedule",
        query=(ApiField("limit", "integer", "how many firings at most", default=20, least=1, most=MOST_PAGE),),
    ),
    ApiOperation(
        "PUT",
        "/api/schedules/{schedule}",
        "put_schedule",
        "Make or change a schedule.",
        "Schedule",
        body=(
            ApiField("flow", "text", "the task whose runs it starts", is_required=True, most=MOST_TEXT),
            ApiField("timetable", "anything", "when: a text or an object, or a list of these", is_required=True),
            ApiField("arguments", "object", "the task's arguments by name"),
            ApiField("overlap", "text", "what a firing does while an earlier run has not ended: skip, queue, ..."),
            ApiField("catch_up", "anything", "how late a firing may be made up: a duration, or seconds"),
        ),
    ),
    ApiOperation("DELETE", "/api/schedules/{schedule}", "delete_schedule", "Delete a schedule that was put.", "Done"),
    ApiOperation(
        "GET",
        "/api/schedules/{schedule}/next",
        "next_moments",
        "The next moments of a schedule.",
        "Moments",
        query=(ApiField("count", "integer", "how many", default=5, least=1, most=MOST_PAGE),),
    ),
    ApiOperation("POST", "/api/schedules/{schedule}/pause", "pause_schedule", "Pause a schedule.", "Done", body=()),
    ApiOperation("POST", "/api/schedules/{schedule}/resume", "resume_schedule", "Let it go on.", "Done", body=()),
    ApiOperation(
        "POST",
        "/api/schedules/{schedule}/trigger",
        "trigger_schedule",
        "Start a run of a schedule for a moment.",
        "Done",
        body=(ApiField("moment", "moment", "which one; now without it"),),
    ),
    ApiOperation(
        "POST",
        "/api/schedules/{schedule}/backfill",
        "backfill_schedule",
        "Start the runs of all moments between two times that have had none.",
        "Done",
        body=(
            ApiField("first", "moment", "from when on", is_required=True),
            ApiField("last", "moment", "until when; now without it"),
        ),
    ),
    ApiOperation("GET", "/api/queues", "queues", "The queues: slots, used, and waiting runs.", "QueueList"),
    ApiOperation(
        "PUT",
        "/api/queues/{queue}",
        "set_queue",
        "Give a queue so many slots: so many of its runs run at a time.",
        "Queue",
        body=(ApiField("slots", "integer", "how many; any number without it", least=0, most=MOST_SLOTS),),
    ),
    ApiOperation("GET", "/api/flows", "flows", "The flows that are loaded, and the inputs that they take.", "FlowList"),
    ApiOperation(
        "GET", "/api/stats", "stats", "How many runs there are, how many begin and end, what waits longest.", "Stats"
    ),
    ApiOperation(
        "PUT", "/api/blobs/{digest}", "put_blob", "Take in a large value of an argument.", "Nothing", takes="bytes"
    ),
    ApiOperation("GET", "/api/blobs/{digest}", "blob", "The bytes of a large value.", "application/octet-stream"),
    ApiOperation("GET", "/api/openapi.json", "openapi", "This description.", "Document"),
    ApiOperation("GET", "/metrics", "metrics", "Measures of the service for Prometheus.", "text/plain"),
    ApiOperation("GET", "/healthz", "health", "Whether the service turns.", "Health", access="open"),
)  # fmt: skip
"""Every operation. A path with fixed parts stands before one with a name at the same position."""

PATH_PARTS = {
    "run": "a run: its id, the id that its starter gave it, or the beginning of its id",
    "stream": "the name of a stream",
    "event": "the id of an event; of a webhook, its name",
    "queue": "a queue, by its name",
    "schedule": "a schedule, by its name or the last part of it",
    "digest": "the hash of a value, in hexadecimal",
}
"""What the parts of paths mean."""
