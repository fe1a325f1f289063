"""Puts the inputs of a script into its directory before it runs, and moves its outputs to their places afterwards.

In: inputs and outputs of a script, and its directory. Out: inputs under their names in the directory; outputs at their
own paths, and the result. Never: takes anything from outside the directory; moves an output before all are complete.

Files of this machine are linked into the directory, not copied: a script must not write to its inputs, like any other
task. All outputs are first put beside their targets, then moved: a worker that dies meanwhile leaves each file whole or
absent, and no result that names it.
"""

from __future__ import annotations

import errno
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
from rayflow.values.encoding.nested import iter_leaves, map_leaves
from rayflow.values.files.copying import copy_as_it_is, entries_in, fetch
from rayflow.values.files.files import Dir, File, FileSet, Staged, made_of
from rayflow.values.filesystems.atomic_writes import beside_of, discard, landing_of, put_in_place
from rayflow.values.filesystems.filesystems import local_path, located
from rayflow.values.filesystems.fsync import make_directories, note_written
from rayflow.values.filesystems.local import AsStoreUnavailable
from rayflow.values.objects.handlers import load_class
from rayflow.values.process.parallel import at_once

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
    """Message for inputs that a script in a directory of its own cannot see there; empty when there are none.

    A script can read a File at an absolute path or at a URL without staging.
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
    return f"{hint} If a path is not a File, rayflow does not see that the file has changed, either."


_PLACES = (File, Dir, FileSet)


def _is_unseen(part: Any, work: str) -> bool:
    """Whether this is (or is the path of) a file of the project that its path does not reach from the script's
    directory."""
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
        raise BadArguments(f"{local!r} is not a name inside {where}: give a relative path without '..'.")
    return os.path.join(work, normal)


def _staging(staged: Staged, target: str) -> list[Callable[[], None]]:
    """The copies to make, one function for each file. Raises FileMissing for a directory that does not exist."""
    remote = staged.remote
    if not isinstance(remote, Dir):
        return [partial(_bring_one, remote, target)]
    os.makedirs(target, exist_ok=True)
    work: list[Callable[[], None]] = []
    for name, entry in entries_in(remote.path):
        place = os.path.join(target, name)
        if entry.is_dir:
            os.makedirs(place, exist_ok=True)
        elif entry.leads_nowhere:
            work.append(partial(_link_to, entry.path, place))
        else:
            work.append(partial(_bring, f"{remote.path.rstrip('/')}/{name}", place))
    return work


def _bring_one(remote: Any, target: str) -> None:
    try:
        _bring(remote.path, target)
    except FileNotFoundError:
        raise remote.missing() if isinstance(remote, File) else FileMissing(str(remote.path)) from None


def _bring(source: str, target: str) -> None:
    """Put one file under its name. Raises FileNotFoundError."""
    local = local_path(source)
    if local is None:
        fetch(source, target)
        return
    os.stat(local)
    _link_to(local, target)


def _link_to(local: str, target: str) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.realpath(local) != os.path.realpath(target):
        if os.path.lexists(target):
            raise BadArguments(f"There is a file {target} already: stage under another name.")
        os.symlink(local, target)


# --- after ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Move:
    """The move of one output.

    source: its path in the script's directory. target: its final path on this machine, with links resolved; None when
    it goes to another machine. beside: the path beside the target where it waits for the others; None when it does not.
    """

    promise: Promise
    source: str
    is_dir: bool
    shared: bool
    target: str | None = None
    beside: str | None = None


def collect_outputs(outputs: Any, work: str, *, is_own: bool, stdout: Any) -> Any:
    """Move the files that the script wrote to their places; gives the result, in the shape of the outputs.

    Raises ScriptFailed when an output is missing or lies outside the directory: then nothing is moved.
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
                discard(move.beside)
    for promise in promises:
        if promise.path != STDOUT and (written := local_path(promise.path)) is not None:
            note_written(os.path.realpath(written))
    return map_leaves(
        outputs, lambda leaf: _delivered(leaf, stdout) if _is_promise(leaf) else leaf, is_leaf=_is_promise
    )


def _is_promise(part: Any) -> bool:
    return type(part) is Promise


def gives_stdout(outputs: Any) -> bool:
    """Whether the script's stdout is part of its result."""
    leaves = iter_leaves(outputs, is_leaf=_is_promise)
    return any(_is_promise(leaf) and leaf.path == STDOUT and leaf.local is None for leaf in leaves)


def _delivered(promise: Promise, stdout: Any) -> Any:
    if promise.path == STDOUT and promise.local is None:
        return stdout
    return made_of(load_class(promise.of), promise.path, promise.immutable)


def _moves(promises: list[Promise], work: str, is_own: bool) -> list[_Move]:
    """The moves of all outputs. Raises ScriptFailed and BadArguments, before anything is moved."""
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
                raise _wrong_type(promise, is_dir)
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


def _wrong_type(promise: Promise, is_dir: bool) -> ScriptFailed:
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
    """A link in a directory that would lead elsewhere, or nowhere, after the directory has moved; None without one."""
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            if os.path.islink(path) and (os.path.isabs(os.readlink(path)) or not _is_within(directory, path)):
                return path
    return None


def _is_within(directory: str, path: str) -> bool:
    """Whether a link leads to something in the directory, or to the directory itself."""
    target = os.path.realpath(path)
    return target == directory or target.startswith(directory + os.sep)


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
    """Advice for an output that was expected at its own path and is in the scratch directory; empty without one."""
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
        path = local_path(move.promise.path)
        if path is None:
            return
        with AsStoreUnavailable("write", path):
            target = landing_of(path.rstrip("/"))
            if move.is_dir and os.path.exists(target) and not os.path.isdir(target):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), target)
            make_directories(os.path.dirname(target))
        beside = beside_of(target)
        move.target, move.beside = target, beside
        if not move.shared:
            try:
                os.rename(move.source, beside)
                return
            except OSError:  # another disk
                pass
        with AsStoreUnavailable("write", target):
            if move.is_dir:
                copy_as_it_is(move.source, beside)
            else:
                shutil.copyfile(move.source, beside)
                shutil.copymode(move.source, beside)

    return put


def _sending(move: _Move) -> list[Callable[[], None]]:
    if not move.is_dir:
        return [partial(_send, move.source, move.promise.path)]
    folder = move.promise.path.rstrip("/")
    found = [(name, entry) for name, entry in entries_in(move.source) if not entry.leads_nowhere]
    return [
        partial(_make if entry.is_dir else partial(_send, f"{move.source}/{name}"), f"{folder}/{name}")
        for name, entry in found
    ]


def _make(url: str) -> None:
    fs, path = located(url)
    fs.makedirs(path)


def _send(source: str, url: str) -> None:
    fs, path = located(url)
    fs.put_file(source, path)


def _removing_others(move: _Move) -> list[Callable[[], None]]:
    """The removals of files in a remote directory that this script has not written: an earlier one has, and they would
    count as this one's output."""
    written = {name for name, _ in entries_in(move.source)}
    fs, folder = located(move.promise.path)
    start = len(folder.rstrip("/")) + 1
    others = [entry for entry in fs.find(folder) or [] if entry.path[start:] not in written]
    return [partial(fs.delete_tree if entry.is_dir else fs.delete, entry.path) for entry in others]


def _put_in_place(move: _Move) -> None:
    assert move.beside is not None and move.target is not None
    with AsStoreUnavailable("write", move.target):
        put_in_place(move.beside, move.target, runs_as_made=True)
