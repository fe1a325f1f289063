"""What executions that live say of themselves, as text.

In: live states. Out: lines. Never: reads a store.
"""

from __future__ import annotations

from rayflow.cli.output.style import counted, duration, short_job
from rayflow.runtime.protocol.reports import Progress
from rayflow.runtime.wording import now_by_task, rate_text, sum_up
from rayflow.store.live.live_state import LiveState, RunningCall

MOST_CALLS = 5
"""The most running calls that are listed."""

_WAITS = {
    "arguments": "for arguments",
    "records": "for the store's records",
    "calls": "for calls that they made or share",
    "retry": "for their next attempt",
    "worker": "for a worker",
}


def progress_of(state: LiveState) -> Progress:
    """A live state as the progress of a run."""
    elapsed = max(0.0, (state.written_at - state.started_at) / 1_000_000)
    return Progress(state.execution_id, elapsed, state.tasks, state.sentences, state.rates)


def counts_text(state: LiveState) -> str:
    """The counts of all tasks: `2 running, 98 queued, 400 computed`."""
    return counted(sum_up(now_by_task(progress_of(state))))


def waits_text(state: LiveState) -> str:
    """What the open jobs wait for: `3 for a worker, 12 for limit db`."""
    return ", ".join(f"{count:,} {_WAITS.get(what, f'for {what}')}" for what, count in state.waits.items())


def longest_lines(state: LiveState) -> list[str]:
    """The calls that run longest, one a line: `flow.train for 3 min 2 s on node7 71a949e02fb4`."""
    return [_call_text(call, state.written_at) for call in state.running[:MOST_CALLS]]


def _call_text(call: RunningCall, now: int) -> str:
    where = f" on {call.node}" if call.node else ""
    more = f" and {call.calls - 1:,} more in turn" if call.calls > 1 else ""
    seconds = max(0.0, (now - call.since) / 1_000_000)
    return f"{call.task}{more} for {duration(seconds)}{where}  {short_job(call.job_id)}"


def state_fields(state: LiveState) -> list[tuple[str, str | None]]:
    """A live state as names and values, below those of its execution."""
    where = f"process {state.pid} on {state.host}" + (", without Ray" if state.shell == "inline" else "")
    rate = rate_text(state.rates)
    longest = longest_lines(state)
    return [
        ("now", counts_text(state) + (f"; {rate}" if rate else "")),
        ("evaluated by", where),
        ("waiting", waits_text(state)),
        *((("runs longest" if number == 0 else f"{number + 1}."), line) for number, line in enumerate(longest)),
        *(("held up", sentence) for sentence in state.sentences),
        ("is asked to end", None if state.cancelled_by is None else f"by {state.cancelled_by}"),
    ]
