"""`rayflow init`: write the files that a new project begins with.

In: a folder. Out: flow.py, rayflow.toml and a line in .gitignore. Never: changes a file
that is there, but for that line.
"""

from __future__ import annotations

import os

import click

SETTINGS = """\
# Settings of this project; `rayflow config show` tells all that count here, and where each was set.

# store = "s3://bucket/results"          # where results are kept; .rayflow in the project by default
# limits = { db = 4 }                    # four at a time of the calls with @task(limits=["db"])
# profiles = { gpu = { num_gpus = 1 } }  # options by name, for @task(profile="gpu")
"""

FLOW = '''\
from rayflow import task


@task
def square(n: int) -> int:
    return n * n


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def main(n: int = 3) -> int:
    """The sum of the first squares."""
    return total([square(i) for i in range(n)])
'''

IGNORED = ".rayflow/"


@click.command("init")
@click.argument("folder", default=".", type=click.Path(file_okay=False))
def command(folder: str) -> None:
    """Begin a project: a first workflow (flow.py), its settings (rayflow.toml), and .rayflow/ in .gitignore.

    \b
    rayflow init
    rayflow init genomes

    Nothing that is there is changed, but for the line that .gitignore gets.
    """
    os.makedirs(folder, exist_ok=True)
    made = [name for name, text in (("flow.py", FLOW), ("rayflow.toml", SETTINGS)) if _write(folder, name, text)]
    if _ignore(os.path.join(folder, ".gitignore")):
        made.append(".gitignore")
    for name in ("flow.py", "rayflow.toml", ".gitignore"):
        click.echo(f"{'made' if name in made else 'left as it is'}: {os.path.join(folder, name)}")
    where = "" if folder == "." else f"cd {folder} && "
    click.echo(f"\nNext:\n  {where}rayflow run flow.py --n 4\n  rayflow log -\n  rayflow run --help")


def _write(folder: str, name: str, text: str) -> bool:
    """Write a file unless something has its name."""
    try:
        with open(os.path.join(folder, name), "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def _ignore(path: str) -> bool:
    """Have git leave the store alone; whether that was to be said."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            known = file.read()
    except FileNotFoundError:
        known = ""
    if any(line.strip().strip("/") == IGNORED.strip("/") for line in known.splitlines()):
        return False
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{'' if not known or known.endswith(chr(10)) else chr(10)}{IGNORED}\n")
    return True
