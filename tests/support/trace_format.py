"""The rules of the trace format of Chrome, as far as viewers rely on them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

PHASES = {"X", "M", "i", "b", "e"}
NAMES = {"process_name", "process_sort_index", "thread_name"}


def broken_rules(trace: Any) -> list[str]:
    """What is wrong with a trace: nothing, if it is a trace."""
    wrong: list[str] = []
    if set(trace) - {"traceEvents", "displayTimeUnit", "otherData"} or trace["displayTimeUnit"] not in ("ms", "ns"):
        wrong.append("the frame")
    tracks: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    open_waits: dict[tuple[str, str, str], int] = {}
    named: set[tuple[str, int, int]] = set()
    for event in trace["traceEvents"]:
        phase = event.get("ph")
        if phase not in PHASES or not isinstance(event.get("name"), str):
            wrong.append(f"no phase or name: {event}")
            continue
        if type(event.get("pid")) is not int or type(event.get("tid")) is not int:
            wrong.append(f"pid and tid are whole numbers: {event}")
        if phase == "M":
            if event["name"] not in NAMES or not event["args"]:
                wrong.append(f"unknown metadata: {event}")
            named.add((event["name"], event["pid"], event["tid"] if event["name"] == "thread_name" else 0))
            continue
        if type(event.get("ts")) is not int or event["ts"] < 0:
            wrong.append(f"a time in whole microseconds: {event}")
        if ("process_name", event["pid"], 0) not in named:
            wrong.append(f"a process without a name: {event}")
        if event["tid"] and ("thread_name", event["pid"], event["tid"]) not in named:
            wrong.append(f"a thread without a name: {event}")
        if phase == "X":
            if type(event.get("dur")) is not int or event["dur"] < 0:
                wrong.append(f"a length in whole microseconds: {event}")
            tracks[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
        elif phase == "i":
            if event.get("s") not in ("g", "p", "t"):
                wrong.append(f"the scope of a moment: {event}")
        else:
            key = (event["cat"], event["id"], event["name"])
            if phase == "b":
                open_waits[key] = event["ts"]
            elif open_waits.pop(key, event["ts"] + 1) > event["ts"]:
                wrong.append(f"an end without a begin before it: {event}")
    wrong.extend(f"a begin without an end: {key}" for key in open_waits)
    for track, spans in tracks.items():
        inside: list[int] = []
        for begin, end in sorted(spans, key=lambda span: (span[0], -span[1])):
            while inside and inside[-1] <= begin:
                inside.pop()
            if inside and end > inside[-1]:
                wrong.append(f"events of track {track} overlap and do not lie in each other: {begin} to {end}")
            inside.append(end)
    return wrong
