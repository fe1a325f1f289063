"""The help that lists the arguments of a task, and the words of a command line that are the verb's own.

In: a task, words. Out: the text of the help; words, sorted. Never: runs anything.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rayflow.lang.arguments.from_words import CommandParameter, arguments_of, option_names
from rayflow.lang.parameters.hints import describe, is_flag
from rayflow.lang.tasks import Task
from rayflow.lang.terms.expressions import Expression
from rayflow.pasting import command
from rayflow.values.encoding.previews import preview


def help_of(
    task: Task[..., Any],
    *,
    target: str,
    own: Sequence[tuple[str, str]] = (),
    others: Iterable[str] = (),
    verb: str = "run",
) -> str:
    """The help text for a task: its docstring, its arguments, and the options of the verb itself.

    target: the file or module as the user wrote it. own: name and meaning of the verb's options. others: the names of
    the other tasks of the file. verb: that the user asks about.
    """
    found = arguments_of(task)
    usage = [_usage(each) if each.is_required or each.is_rest else f"[{_usage(each)}]" for each in found]
    lines = [" ".join([f"Usage: {command(verb, target, task.name)}", *usage]), ""]
    doc = inspect.getdoc(task.func)
    if doc:
        lines.extend([*(f"  {line}".rstrip() for line in doc.splitlines()), ""])
    if found:
        lines.append("Arguments:")
        lines.extend(_columns([(_usage(argument), _meaning(argument)) for argument in found]))
    if own:
        taken = option_names(task)
        left = [(name, meaning) for name, meaning in own if name.split()[0] not in taken]
        lines.extend(["", "Options of the run:", *_columns(left)])
    listed = [name for name in others if name != task.name]
    if listed:
        lines.extend(["", f"Other tasks of {target}: {', '.join(listed[:20])}{' ...' if len(listed) > 20 else ''}"])
    return "\n".join(lines).rstrip() + "\n"


def _usage(argument: CommandParameter) -> str:
    if argument.kind is inspect.Parameter.VAR_POSITIONAL:
        return f"[{argument.name} ...]"
    if argument.kind is inspect.Parameter.VAR_KEYWORD:
        return "[--NAME VALUE ...]"
    option = argument.option
    if is_flag(argument.hint):
        return f"{option}/--no-{option[2:]}"
    return f"{option} VALUE{' ...' if argument.many else ''}"


def _meaning(argument: CommandParameter) -> str:
    kind = describe(argument.hint)
    if argument.is_rest:
        return f"{kind}; any number"
    if argument.is_required:
        return f"{kind}; required"
    return f"{kind}; default: {_default_text(argument.default)}"


def _default_text(default: Any) -> str:
    return repr(default)[:100] if isinstance(default, Expression) else preview(default, 100)


def help_of_module(target: str, tasks: Iterable[Task[..., Any]], *, verb: str = "run") -> str:
    """The help text for a file without a default task: the tasks of the file."""
    rows = [(task.name, (inspect.getdoc(task.func) or "").partition("\n")[0]) for task in tasks]
    usage = command(verb, target, "TASK")
    lines = [f"Usage: {usage} [--argument VALUE ...]", "", "Tasks:", *_columns(rows)]
    return "\n".join([*lines, "", f"{usage} --help lists a task's arguments."]) + "\n"


def _columns(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = min(max((len(name) for name, _ in rows), default=0), 36)
    lines = []
    for name, meaning in rows:
        if len(name) > width:
            lines.extend([f"  {name}", f"  {'':{width}}  {meaning}"])
        else:
            lines.append(f"  {name:{width}}  {meaning}".rstrip())
    return lines


def take_own(words: Sequence[str], own: Mapping[str, bool], taken: frozenset[str]) -> tuple[list[str], list[str]]:
    """Words that are the verb's own options, and all the others.

    own: the verb's options, and whether each takes a value. taken: names that are the task's own, and so not the
    verb's.
    """
    mine: list[str] = []
    others: list[str] = []
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "--":
            others.extend(words[position - 1 :])
            break
        name, equals, _ = word.partition("=")
        if name not in own or name in taken:
            others.append(word)
            continue
        mine.append(word)
        if own[name] and not equals and position < len(words):
            mine.append(words[position])
            position += 1
    return mine, others
