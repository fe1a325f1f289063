"""What stands in a script's directory before it runs, and what is taken out of it afterwards.

In: inputs and outputs of a script, and its directory. Out: files under their names there; the outputs at their own
paths, and the result. Never: takes anything from outside the directory; moves one output before all are there.

Files of this machine are linked into the directory, not copied: a script must not write to its inputs, no more than any
task may. Outputs are first all put beside their targets, then all moved: a worker that dies on the way leaves whole
files or none, and no result that names them.
"""

from __future__ import annotations

import os
import posixpath
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from rayflow.errors import BadArguments, FileMissing, ScriptFailed
from rayflow.lang.scripts import STDOUT, Promise
from rayflow.values.besides import beside_of
from rayflow.values.files import Dir, File, FileSet, Staged, made_of
from rayflow.values.filesystems import local_path, located
from rayflow.values.handlers import load_class
from rayflow.values.local_files import Told
from rayflow.values.nested import iter_leaves, map_leaves
from rayflow.values.staging import at_once, fetch, names_in

# --- before -----------------------------------------------------------------------------------------------------------


def stage_inputs(inputs: Any, work: str, *, is_own: bool) -> None:
    """Put all staged inputs under their names, several at a time. Raises BadArguments and FileMissing.

    is_own: the directory is the script's own scratch directory.
    """
    staged = [each for each in iter_leaves(inputs, is_leaf=_is_staged) if _is_staged(each)]
    taken: dict[str, Staged] = {}
    for each in staged:
        before = taken.setdefault(posixpath.normpath(each.local), each)
        if before.remote != each.remote:
            raise BadArguments(
                f"Two inputs of the script are staged as {each.local!r}: {before.remote!r} and {each.remote!r}."
            )
    at_once([copy for each in taken.values() for copy in _staging(each, _inside(work, each.local, is_own))])


def unstaged_text(inputs: Any, work: str) -> str:
    """What to say of inputs that a script in a directory of its own cannot see there; empty when there are none.

    A File at an absolute path, or at a URL, can be read there as it is: it need not be staged to count.
    """
    leaves = iter_leaves(inputs, scalars=True, is_leaf=_is_staged)
    unseen = [each for each in leaves if not _is_staged(each) and _is_unseen(each, work)]
    if not unseen:
        return ""
    shown = ", ".join(map(repr, unseen[:3])) + (f" and {len(unseen) - 3} more" if len(unseen) > 3 else "")
    made = unseen[0] if isinstance(unseen[0], _PLACES) else File(unseen[0])
    staged = f"[file.stage() for file in {made!r}]" if isinstance(made, FileSet) else f"{made!r}.stage()"
    hint = (
        f"The script runs in a directory of its own, where {shown} {'is' if len(unseen) == 1 else 'are'} not: "
        f"write inputs={staged}."
    )
    if all(isinstance(each, _PLACES) for each in unseen):
        return hint
    return f"{hint} Of a path that is no File, a change of the file would not be seen either."


_PLACES = (File, Dir, FileSet)


def _is_unseen(part: Any, work: str) -> bool:
    """Whether this is, or names, a file of the project by a path that leads nowhere from the script's directory."""
    is_place = isinstance(part, _PLACES)
    if not is_place and not isinstance(part, str | os.PathLike):
        return False
    path = part.path if is_place else os.fspath(part)
    if not isinstance(path, str) or not path.isprintable() or len(path) > 1000 or os.path.isabs(path):
        return False
    if os.path.lexists(os.path.join(work, path)):
        return False
    try:
        local = local_path(path)
    except FileMissing:  # a machine without the project
        return False
    return local is not None and (is_place or os.path.isfile(local))


def _is_staged(part: Any) -> bool:
    return type(part) is Staged


def _inside(work: str, local: str, is_own: bool) -> str:
    """Where a name is in the directory. Raises BadArguments for one that leads out of it."""
    normal = posixpath.normpath(local)
    if not local or "\0" in local or normal == ".." or normal.startswith(("../", "/")) or normal == ".":
        where = "the script's scratch directory" if is_own else work
        raise BadArguments(f"{local!r} is no name inside of {where}: give a relative path without '..'.")
    return os.path.join(work, normal)


def _staging(staged: Staged, target: str) -> list[Callable[[], None]]:
    """The copies to be made, one for each file. Raises FileMissing for a directory that is not there."""
    remote = staged.remote
    if not isinstance(remote, Dir):
        return [partial(_bring_one, remote, target)]
    names = names_in(remote.path)
    os.makedirs(target, exist_ok=True)
    return [partial(_bring, f"{remote.path.rstrip('/')}/{name}", os.path.join(target, name)) for name in names]


def _bring_one(remote: Any, target: str) -> None:
    try:
        _bring(remote.path, target)
    except FileNotFoundError:
        raise remote.missing() if isinstance(remote, File) else FileMissing(str(remote.path)) from None


def _bring(source: str, target: str) -> None:
    """One file under its name. Raises FileNotFoundError."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    local = local_path(source)
    if local is None:
        fetch(source, target)
        return
    os.stat(local)
    if os.path.realpath(local) != os.path.realpath(target):
        if os.path.lexists(target):
            raise BadArguments(f"There is a file {target} already: stage under another name.")
        os.symlink(local, target)


# --- after ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Move:
    """An output on its way. source: a path on this machine. beside: where it waits for the others, if it does."""

    promise: Promise
    source: str
    is_dir: bool
    shared: bool
    beside: str | None = None


def collect_outputs(outputs: Any, work: str, *, is_own: bool, stdout: Any) -> Any:
    """Move what the script wrote to where it belongs; the result, in the shape of the outputs.

    Raises ScriptFailed when something is missing or lies outside the directory: then nothing is moved.
    """
    promises = [each for each in iter_leaves(outputs, is_leaf=_is_promise) if _is_promise(each)]
    moves = _moves(promises, work, is_own)
    try:
        at_once([_putting_beside(move) for move in moves])
        far = [move for move in moves if move.beside is None]
        at_once([send for move in far for send in _sending(move)])
        at_once([remove for move in far if move.is_dir for remove in _removing_others(move)])
        for move in moves:
            if move.beside is not None:
                _put_in_place(move)
    finally:
        for move in moves:
            if move.beside is not None:
                _discard(move.beside)
    return map_leaves(
        outputs, lambda leaf: _kept(leaf, stdout) if _is_promise(leaf) else leaf, is_leaf=_is_promise
    )


def _is_promise(part: Any) -> bool:
    return type(part) is Promise


def gives_stdout(outputs: Any) -> bool:
    """Whether what the script prints is part of its result."""
    leaves = iter_leaves(outputs, is_leaf=_is_promise)
    return any(_is_promise(leaf) and leaf.path == STDOUT and leaf.local is None for leaf in leaves)


def _kept(promise: Promise, stdout: Any) -> Any:
    if promise.path == STDOUT and promise.local is None:
        return stdout
    return made_of(load_class(promise.of), promise.path, promise.immutable)


def _moves(promises: list[Promise], work: str, is_own: bool) -> list[_Move]:
    """The outputs that have to be moved, all looked at first."""
    root = os.path.realpath(work)
    missing: list[str] = []
    moves: list[_Move] = []
    for promise in dict.fromkeys(promises):
        is_dir = issubclass(load_class(promise.of), Dir) if promise.of else False
        if promise.local is None:
            if promise.path != STDOUT and not _is_there(promise.path, is_dir):
                missing.append(promise.path)
            continue
        path = _inside(work, promise.local, is_own)
        source = os.path.realpath(path)
        if not (os.path.isdir(source) if is_dir else os.path.isfile(source)):
            if os.path.isfile(source) or os.path.isdir(source):
                raise _another_kind(promise, is_dir)
            missing.append(promise.local)
        elif not source.startswith(root + os.sep):
            raise _link(promise.local, source)
        elif is_dir and (leading := _link_out_of(source)) is not None:
            raise _link(os.path.join(promise.local, os.path.relpath(leading, source)), os.readlink(leading))
        elif local_path(promise.path) != path:
            moves.append(_Move(promise, source, is_dir, shared=not is_own))
    if missing:
        text = f"The script did not write {', '.join(map(repr, missing))}.{_what_is_there(work, is_own)}"
        raise ScriptFailed(text + _not_staged(promises, work, is_own))
    uses = Counter(move.source for move in moves)
    for move in moves:
        move.shared = move.shared or uses[move.source] > 1
    targets = Counter(local_path(move.promise.path) or move.promise.path for move in moves)
    twice = [path for path, count in targets.items() if count > 1]
    if twice:
        raise BadArguments(f"Two outputs of the script go to one path: {twice[0]}.")
    return moves


def _another_kind(promise: Promise, is_dir: bool) -> ScriptFailed:
    wrote, meant, ours = ("a file", "directory", "File") if is_dir else ("a directory", "file", "Dir")
    return ScriptFailed(
        f"The script wrote {promise.local!r} as {wrote}, and its output is meant as a {meant}: write "
        f"outputs={ours}({promise.path!r}).stage({promise.local!r}), or have it write the {meant}."
    )


def _link(name: str, target: str) -> ScriptFailed:
    return ScriptFailed(
        f"The script's output {name!r} is a link to {target}, outside of what it writes: have the script write the "
        "file itself (cp in place of ln -s)."
    )


def _link_out_of(directory: str) -> str | None:
    """A link in a directory that would lead elsewhere, or nowhere, when the directory has been moved."""
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            if os.path.islink(path) and (
                os.path.isabs(os.readlink(path)) or not os.path.realpath(path).startswith(directory + os.sep)
            ):
                return path
    return None


def _is_there(path: str, is_dir: bool) -> bool:
    fs, place = located(path)
    return fs.find(place) is not None if is_dir else fs.exists(place)


def _what_is_there(work: str, is_own: bool) -> str:
    if not is_own:
        return ""
    names = sorted(os.listdir(work))
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f" In its directory are: {', '.join(map(repr, names[:10]))}{more}." if names else " Its directory is empty."


def _not_staged(promises: list[Promise], work: str, is_own: bool) -> str:
    """What is said where an output was looked for at its own path, and stands in the scratch directory."""
    for promise in promises:
        name = os.path.basename(promise.path)
        if is_own and promise.local is None and os.path.lexists(os.path.join(work, name)):
            return (
                f" {promise!r} without a name stands for {local_path(promise.path) or promise.path} itself: write "
                f"{promise!r}.stage() for the one in the script's directory."
            )
    return ""


def _putting_beside(move: _Move) -> Callable[[], None]:
    def put() -> None:
        target = local_path(move.promise.path)
        if target is None:
            return
        target = target.rstrip("/")
        with Told("write", target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
        beside = beside_of(target)
        move.beside = beside
        if not move.shared:
            try:
                os.rename(move.source, beside)
                return
            except OSError:  # another disk
                pass
        with Told("write", target):
            if move.is_dir:
                _copy_tree(move.source, beside)
            else:
                shutil.copyfile(move.source, beside)
                shutil.copymode(move.source, beside)

    return put


class _BrokeOff(Exception):
    """The copy of a file failed; not an OSError, which copytree would collect until it has tried all others."""


def _copy_tree(source: str, target: str) -> None:
    """Copy a directory. Raises the OSError of the first file that cannot be copied."""

    def copy(one: str, other: str) -> None:
        try:
            shutil.copy2(one, other)
        except OSError as error:
            raise _BrokeOff(error) from error

    try:
        shutil.copytree(source, target, symlinks=True, copy_function=copy)
    except _BrokeOff as broken:
        raise broken.args[0] from None


def _sending(move: _Move) -> list[Callable[[], None]]:
    if not move.is_dir:
        return [partial(_send, move.source, move.promise.path)]
    folder = move.promise.path.rstrip("/")
    return [partial(_send, f"{move.source}/{name}", f"{folder}/{name}") for name in names_in(move.source)]


def _send(source: str, url: str) -> None:
    fs, path = located(url)
    fs.put_file(source, path)


def _removing_others(move: _Move) -> list[Callable[[], None]]:
    """What is in a remote directory and was not written by this script is from an earlier one: it would count as
    written by this one."""
    written = set(names_in(move.source))
    fs, folder = located(move.promise.path)
    start = len(folder.rstrip("/")) + 1
    return [partial(fs.delete, entry.path) for entry in fs.find(folder) or [] if entry.path[start:] not in written]


def _put_in_place(move: _Move) -> None:
    target = (local_path(move.promise.path) or "").rstrip("/")
    assert move.beside is not None
    if not move.is_dir:
        with Told("write", target):
            os.replace(move.beside, target)
        return
    old = beside_of(target)
    try:
        os.rename(target, old)
    except FileNotFoundError:
        os.rename(move.beside, target)
        return
    os.rename(move.beside, target)
    shutil.rmtree(old)


def _discard(beside: str) -> None:
    if os.path.isdir(beside):
        shutil.rmtree(beside, ignore_errors=True)
    elif os.path.lexists(beside):
        os.unlink(beside)
