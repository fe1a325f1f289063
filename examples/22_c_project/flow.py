"""A C project: each file is compiled when it, or a header that it reaches, has changed; then all is linked.

The compiler sees nothing but what it was given, since it runs in a scratch directory of its own.
"""

import re

from rayflow import ContentFile, File, FileSet, run, script, task

SOURCES, HEADERS = FileSet("src/*.c"), FileSet("src/*.h")
FLAGS = "-std=c11 -O2 -Wall -Wextra -Werror"
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


@task
def included_by(file: File) -> list[str]:
    """The headers of ours that a file names."""
    return INCLUDE.findall(file.read())


@task
def build(sources: list[File], headers: dict[str, File], included: dict[str, list[str]]) -> ContentFile:
    """The program."""
    objects = [
        compile_c(source, [headers[name] for name in reached(source.basename(), included)]) for source in sources
    ]
    return link(objects)


def reached(name: str, included: dict[str, list[str]]) -> list[str]:
    """All headers that a file includes, by itself or through others."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = set(included[waiting.pop()]) - found
        found |= new
        waiting += new
    return sorted(found)


@task
def compile_c(source: File, headers: list[File]) -> ContentFile:
    """The object file. It is known by its content: one that is the same as before need not be linked again."""
    name = source.basename().removesuffix(".c")
    return script(
        f"gcc {FLAGS} -c {name}.c -o {name}.o",
        inputs=[source.stage(), [header.stage() for header in headers]],
        outputs=ContentFile(f"data/{name}.o").stage(),
    )


@task
def link(objects: list[ContentFile]) -> ContentFile:
    return script(
        "gcc *.o -o calc",
        inputs=[each.stage() for each in objects],
        outputs=ContentFile("data/calc").stage(),
    )


@task(script=True)
def calculate(program: File, formula: str) -> str:
    return f"set -f; {program} {formula}"


@task
def main(sources: FileSet = SOURCES, headers: FileSet = HEADERS, formula: str = "3 4 + 2 *") -> str:
    included = {file.basename(): included_by(file) for file in [*sources, *headers]}
    program = build(list(sources), {header.basename(): header for header in headers}, included)
    return calculate(program, formula)


if __name__ == "__main__":
    print(run(main()), end="")
