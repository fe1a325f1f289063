"""Statistics of the runs of a store: how many there are, how many begin and end, what waits longest.

In: a history, the time. Out: plain data. Never: changes anything.
"""

from __future__ import annotations

from typing import Any

from rayflow.runtime.keeping.keeper_turn import ENDED
from rayflow.store.history.history import History

_WINDOWS = (60, 3_600, 86_400)
"""The last so many seconds, for which rates are told."""

_MEASURED_SECONDS = 3_600
"""How long runs waited and ran is told of those that began, or ended, in the last so many seconds."""

_NOW = """
SELECT run_id, arg_max(flow, number) AS flow, arg_max(state, number) AS state, epoch_us(max("at")) AS since
FROM raw.run_changes GROUP BY run_id
"""

_BY_FLOW = f"""
SELECT flow, state, count(*) AS runs, arg_min(run_id, since) AS run_id, min(since) AS since
FROM ({_NOW}) GROUP BY ALL
"""

_RATES = """
SELECT count(DISTINCT run_id) FILTER (seen_from IS NOT NULL) AS started,
    count(DISTINCT run_id) FILTER (state = 'done') AS done, count(DISTINCT run_id) FILTER (state = 'failed') AS failed,
    count(DISTINCT run_id) FILTER (state = 'cancelled') AS cancelled
FROM raw.run_changes WHERE epoch_us("at") > $since
"""

_TIMES = """
WITH run_times AS (
    SELECT min(epoch_us(coalesce(due_at, "at"))) FILTER (seen_from IS NOT NULL) AS requested,
        min(epoch_us("at")) FILTER (state = 'running') AS started,
        max(epoch_us("at")) FILTER (state IN ('done', 'failed', 'cancelled')) AS ended
    FROM raw.run_changes
    WHERE run_id IN (SELECT run_id FROM raw.run_changes WHERE epoch_us("at") > $since) GROUP BY run_id),
measured AS (
    SELECT greatest(0, started - requested) / 1e6 AS queued FROM run_times WHERE started > $since),
ran AS (
    SELECT (ended - started) / 1e6 AS seconds FROM run_times WHERE ended > $since AND started IS NOT NULL)
SELECT (SELECT count(*) FROM measured) AS queue_count, (SELECT quantile_cont(queued, 0.5) FROM measured) AS queue_p50,
    (SELECT quantile_cont(queued, 0.95) FROM measured) AS queue_p95, (SELECT max(queued) FROM measured) AS queue_max,
    (SELECT count(*) FROM ran) AS run_count, (SELECT quantile_cont(seconds, 0.5) FROM ran) AS run_p50,
    (SELECT quantile_cont(seconds, 0.95) FROM ran) AS run_p95, (SELECT max(seconds) FROM ran) AS run_max
"""

_WAITS = """
SELECT kind, count(*) AS waits FROM (
    SELECT arg_max(kind, number) AS kind, arg_max(state, number) AS state FROM raw.wait_changes GROUP BY run_id, place)
WHERE state = 'open' GROUP BY kind
"""


def stats(history: History, now: int) -> dict[str, Any]:
    """The statistics at this time, in microseconds since the epoch."""
    rows = history.records(_BY_FLOW)
    states: dict[str, int] = {}
    flows: dict[str | None, dict[str, int]] = {}
    oldest: dict[str, dict[str, Any]] = {}
    for row in rows:
        state = row["state"]
        states[state] = states.get(state, 0) + row["runs"]
        flows.setdefault(row["flow"], {})[state] = row["runs"]
        if state not in ENDED and (state not in oldest or row["since"] < oldest[state]["since"]):
            oldest[state] = {"run_id": row["run_id"], "since": row["since"]}
    rates = []
    for seconds in _WINDOWS:
        [counts] = history.records(_RATES, {"since": now - seconds * 1_000_000})
        rates.append({"seconds": seconds, **counts})
    [times] = history.records(_TIMES, {"since": now - _MEASURED_SECONDS * 1_000_000})
    return {
        "at": now,
        "states": states,
        "flows": [{"flow": flow, "states": flows[flow]} for flow in sorted(flows, key=lambda each: each or "")],
        "rates": rates,
        "queue_seconds": {name: times[f"queue_{name}"] for name in ("count", "p50", "p95", "max")},
        "run_seconds": {name: times[f"run_{name}"] for name in ("count", "p50", "p95", "max")},
        "oldest": oldest,
        "waits": {row["kind"]: row["waits"] for row in history.records(_WAITS)},
    }
