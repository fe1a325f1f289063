"""An agent: a model is asked what to do next, until it is done. Each tool is an effect; its words come as a stream."""

import json
from pathlib import Path
from typing import Any

from rayflow import effect, flow, gather, sleep, stream

NOTES = Path("notes.txt")

SCRIPT: list[dict[str, Any]] = [
    {"tools": [["look_up", "weather in Oslo"], ["look_up", "trains to Bergen"]]},
    {"tools": [["write_down", "take the train, it rains"]]},
    {"answer": "Take the train: it rains in Oslo."},
]
"""What the model says, turn by turn: a stand-in for a model that is paid for."""


@effect(retries=3, retry_delay=1)
def ask_model(question: str, so_far: list[str]) -> dict[str, Any]:
    """One call of the model. It costs money, and gives another answer each time: so it is an effect, and no task."""
    turn = sum(1 for line in so_far if line.startswith("model: "))
    reply = SCRIPT[min(turn, len(SCRIPT) - 1)]
    for token in str(reply.get("answer", "")).split():
        stream("answer").write(f"{token} ")  # readers see it at once; a second attempt would write anew
    return reply


@effect
def look_up(query: str) -> str:
    """A search, which may give something else tomorrow."""
    return {"weather in Oslo": "rain", "trains to Bergen": "08:25, 12:03"}.get(query, "nothing")


@effect
def write_down(text: str) -> str:
    """Something that must not be done twice."""
    with NOTES.open("a") as file:
        file.write(f"{text}\n")
    return "noted"


TOOLS: dict[str, Any] = {"look_up": look_up, "write_down": write_down}


@flow
async def agent(question: str = "How do I get to Bergen?") -> str:
    """Ask, act, and ask again. Each turn is recorded: after a crash the agent goes on where it was."""
    so_far: list[str] = []
    while True:
        reply = await gather(ask_model(question, so_far))
        so_far.append(f"model: {json.dumps(reply)}")
        if "answer" in reply:
            return str(reply["answer"])
        for name, text in reply["tools"]:
            stream("steps").write({"tool": name, "asked": text})
        results = await gather(*(TOOLS[name](text) for name, text in reply["tools"]))
        so_far.extend(f"tool: {result}" for result in results)
        await gather(sleep(0.2))  # the model's provider allows so many calls a second
