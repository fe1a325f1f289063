"""A person in the loop: a draft is shown to an editor until he likes it, and then published."""

from dataclasses import dataclass
from pathlib import Path

from rayflow import ask, effect, flow, gather, task, within

SITE = Path("site.txt")


@dataclass
class Verdict:
    """What the editor says. is_fine: publish it. remark: what to change otherwise."""

    is_fine: bool
    remark: str = ""


@task
def draft(topic: str, remarks: list[str]) -> str:
    """Write a text. (A stand-in: it takes the remarks in.)"""
    return f"About {topic}" + "".join(f", {remark}" for remark in remarks)


@effect
def publish(text: str) -> str:
    """Put it on the site."""
    with SITE.open("a") as file:
        file.write(f"{text}\n")
    return f"published: {text}"


@flow
async def article(topic: str) -> str:
    """Write, ask, and write again. The editor may take weeks: nothing runs meanwhile."""
    remarks: list[str] = []
    while True:
        text = await gather(draft(topic, remarks))
        verdict: Verdict | None = await gather(within(ask(f"Publish {text!r}?", Verdict), "30d"))
        if verdict is None:
            return f"nobody has answered about: {text}"
        if verdict.is_fine:
            return await gather(publish(text))
        remarks.append(verdict.remark)
