"""`rayflow help`: the pages of the documentation that come with the package, without a network.

In: the name of a page, or of a verb. Out: the page, rendered on a terminal and as Markdown in a pipe; or the verb's
help. Never: asks a store, a project or a server.

`rayflow/docs/index.md` lists the pages, in order, with one line each. There is no other list.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TextIO

import click
from click.shell_completion import CompletionItem

from rayflow.cli.main import VERBS
from rayflow.cli.output.style import beneath, is_terminal
from rayflow.installation import PACKAGE
from rayflow.pasting import command as pasted

PAGES = Path(PACKAGE) / "docs"

WIDEST = 110
"""A page is rendered in at most this many columns: longer lines are hard to read."""

_LISTED = re.compile(r"^- \[(?P<page>[\w-]+)\]\((?P=page)\.md\): (?P<line>.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\((?P<page>[\w-]+)\.md(#[\w-]*)?\)")
_COMMENT = re.compile(r"^<!-- .* -->\n+", re.MULTILINE)


def topics() -> dict[str, str]:
    """The name of each page, with one line about it, in the order of the index."""
    return {found["page"]: found["line"] for found in _LISTED.finditer(_read("index"))}


def _offered(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Pages, then verbs, for a shell that completes the first word."""
    items = [CompletionItem(name, help=line) for name, line in topics().items()]
    items += [CompletionItem(verb) for verb in VERBS]
    return [item for item in items if not context.params.get("words") and item.value.startswith(incomplete)]


@click.command("help")
@click.argument("words", nargs=-1, metavar="[PAGE|VERB]", shell_complete=_offered)
@click.option("--list", "only_list", is_flag=True, help="List the pages with one line each.")
@click.pass_context
def command(context: click.Context, words: tuple[str, ...], only_list: bool) -> None:
    """Print a page of the documentation, or the help of a verb. Needs no network.

    \b
    rayflow help                 the pages
    rayflow help caching         what runs again, and what does not
    rayflow help files           the beginning of a page's name is enough
    rayflow help run             the help of a verb, as `rayflow run --help`
    rayflow help options | grep retry

    On a terminal the page is rendered; in a pipe it is Markdown.
    """
    if words and only_list:
        raise click.UsageError("--list lists all pages: leave it out, or the name.", context)
    if not words:
        _print_list()
        if not only_list:
            click.echo(f"\n`{pasted('help', 'PAGE')}` prints a page, `{pasted('help', 'VERB')}` the help of a verb.")
    elif words[0] in VERBS:
        click.echo(_help_of_verb(context, words))
    else:
        _print_page(_read(_page_called(words, context)), sys.stdout)


def _print_list() -> None:
    lines = topics()
    width = max(map(len, lines))
    for name, line in lines.items():
        click.echo(f"{name:<{width}}  {line}")


def _help_of_verb(context: click.Context, words: Sequence[str]) -> str:
    """The help of a verb, or of a verb's verb: `store gc`."""
    inner = context.find_root()
    for word in words:
        group = inner.command
        found = group.get_command(inner, word) if isinstance(group, click.Group) else None
        if found is None:
            asked = pasted(*words[: words.index(word)], "--help")
            raise click.UsageError(f"`{pasted(*words)}` is not a command. See `{asked}`.", context)
        inner = click.Context(found, info_name=word, parent=inner)
    return inner.get_help()


def _page_called(words: Sequence[str], context: click.Context) -> str:
    """The page that the words name, in full or by its beginning. Raises UsageError, which offers what is near."""
    names = list(topics())
    wanted = "-".join(words).lower().removesuffix(".md")
    begun = [wanted] if wanted in names else [name for name in names if name.startswith(wanted)]
    if len(begun) == 1:
        return begun[0]
    text = " ".join(words)
    near = begun or [name for name in names if wanted in name] or _near(wanted, words[0], [*names, *VERBS])
    mentions = [name for name in names if f"`{text}`" in _read(name)]
    if near:
        more = f"Did you mean {' or '.join(map(_offer, near))}?"
    elif mentions:
        more = f"It is mentioned in {', '.join(map(_offer, mentions))}."
    else:
        more = f"See {_offer()}."
    raise click.UsageError(f"There is no page and no verb {text!r}. {more}", context)


def _offer(*words: str) -> str:
    return f"`{pasted('help', *words)}`"


def _near(wanted: str, first: str, names: Sequence[str]) -> list[str]:
    return get_close_matches(wanted, names, n=2, cutoff=0.7) or get_close_matches(first, names, n=1, cutoff=0.7)


def _read(page: str) -> str:
    return (PAGES / f"{page}.md").read_text(encoding="utf-8")


def _print_page(text: str, stream: TextIO) -> None:
    """Print a page of rayflow's documentation: rendered on a terminal, else as it is, without marks for writers."""
    plain = _COMMENT.sub("", text)
    if not is_terminal(stream):
        click.echo(plain, nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.theme import Theme

    console = Console(file=beneath(stream), theme=Theme({"markdown.code": "cyan"}))
    console.width = min(console.width, WIDEST)
    console.print(Markdown(_LINK.sub(r"](rayflow help \g<page>)", plain), code_theme="ansi_dark", hyperlinks=False))
