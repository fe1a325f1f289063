"""Port files from redun: `python port.py FILE ...` changes workflows (.py) in place, and writes a rayflow.toml for a
redun.ini. What it cannot port it names: file, line, what to write, and the line as it is now.

What is changed: names and modules of imports, `redun_namespace` and `namespace("...")`, and arguments and options that
have other names or other values. All else stays as it is.
"""

import ast
import re
import shlex
import sys
from pathlib import Path

import settings
from differences import (
    FIXTURES,
    LOOK,
    METHODS,
    MODULES,
    OF_EXECUTORS,
    OF_FILES,
    OF_FORMS,
    OF_HANDLERS,
    OF_VALUES,
    RENAMED,
)

import rayflow
from rayflow import Task
from rayflow.lang.options.options import ALIASES, OPTIONS

Note = tuple[int, str]
"""A line, and what to do there."""


class Porter:
    """One file: what is to be replaced, and what is to be said.

    edits: beginnings and ends in the bytes of the file, with the new text. names: what the file calls a thing of
    redun's, with its name there; modules: what it calls redun itself. dropped: names that nothing needs any more.
    """

    def __init__(self, text: str) -> None:
        self.tree = ast.parse(text)
        self.data = text.encode()
        self.starts = [0, *(at.end() for at in re.finditer(rb"\n", self.data))]
        self.edits: list[tuple[int, int, str]] = []
        self.notes: list[Note] = []
        self.names: dict[str, str] = {}
        self.modules: set[str] = set()
        self.dropped: set[str] = set()
        self.evaluated: set[ast.AST] = set()
        self.evaluators: set[str] = set()

    def ported(self) -> str:
        """The text as rayflow takes it."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "redun":
                modules = {alias for alias in node.names if _is_module(node, alias)}
                self.modules |= {alias.asname or alias.name for alias in modules}
                self.names |= {alias.asname or alias.name: alias.name for alias in {*node.names} - modules}
            elif isinstance(node, ast.Import):
                self.modules |= {alias.asname or "redun" for alias in node.names if _is_redun(alias.name)}
        self._namespaces()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                self._call(node)
            elif isinstance(node, ast.Attribute):
                self._attribute(node)
            elif isinstance(node, ast.Name) and node.id == "redun_namespace":
                self._replace(node, "rayflow_namespace")
            elif isinstance(node, ast.Name) and node.id == "redun" in self.modules:
                self._replace(node, "rayflow")
            elif isinstance(node, ast.Name) and RENAMED.get(self.names.get(node.id, "")) and node.id in RENAMED:
                self._replace(node, RENAMED[node.id])
            elif isinstance(node, ast.ClassDef):
                self._class(node)
            elif isinstance(node, _FUNCTION) and node.name.startswith("test_"):
                self._test(node)
        self._types()
        for node in ast.walk(self.tree):  # at last: by now it is known which names are still needed
            if isinstance(node, ast.ImportFrom | ast.Import):
                self._import(node)
        pieces: list[bytes] = []
        at = 0
        # What is inserted stands before what is replaced there, and what is replaced as a whole has no other edits.
        for start, end, new in sorted(set(self.edits), key=lambda edit: (edit[0], edit[1] > edit[0], -edit[1])):
            if start >= at:
                pieces += [self.data[at:start], new.encode()]
                at = end
        return b"".join([*pieces, self.data[at:]]).decode()

    # --- places -----------------------------------------------------------------------------------------------------

    def _span(self, node: ast.AST) -> tuple[int, int]:
        """Where a node begins and ends, in bytes."""
        found: dict[str, int] = vars(node)
        begin = self.starts[found["lineno"] - 1] + found["col_offset"]
        return begin, self.starts[found["end_lineno"] - 1] + found["end_col_offset"]

    def _source(self, node: ast.AST) -> str:
        begin, end = self._span(node)
        return self.data[begin:end].decode()

    def _replace(self, node: ast.AST, new: str) -> None:
        self.edits.append((*self._span(node), new))

    def _note(self, node: ast.AST, name: str, advice: str) -> None:
        self.notes.append((vars(node)["lineno"], f"{name}: {advice}"))

    # --- names ------------------------------------------------------------------------------------------------------

    def _name_of(self, node: ast.AST) -> str:
        """What a name or an attribute is called in redun; empty for everything else."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, "")
        if isinstance(node, ast.Attribute):
            root = node.value
            while isinstance(root, ast.Attribute) and root.attr in MODULES:
                root = root.value
            if isinstance(root, ast.Name) and root.id in self.modules:
                return node.attr
        return ""

    def _attribute(self, node: ast.Attribute) -> None:
        of = self._name_of(node.value)
        if of in ("CacheScope", "CacheCheckValid"):
            self._replace(node, f'"{node.attr}"' if of == "CacheScope" else f'"{node.attr.lower()}"')
            self.dropped.add(of)
        elif node.attr in METHODS:
            self._note(node, node.attr, METHODS[node.attr])
        elif node.attr == "path" and isinstance(node.value, ast.Attribute) and node.value.attr == "local":
            self._note(node, "local.path", "local of a staged file is its path here: leave .path out")
        elif of and node.attr in ("partial", "options", "func") and not hasattr(getattr(rayflow, of, Task), node.attr):
            advice = f"write as_task(lambda *more: {of}(..., *more))" if node.attr == "partial" else "call it in a task"
            self._note(node, f"{of}.{node.attr}", f"{of} is a function here: {advice}")
        elif self._name_of(node) and node not in self.evaluated:
            root = node.value
            while isinstance(root, ast.Attribute):
                root = root.value
            assert isinstance(root, ast.Name)
            if node.attr not in RENAMED:
                self._advise(node, node.attr)
            is_whole = isinstance(node.value, ast.Name) and node.attr not in RENAMED
            if not is_whole:
                known = "rayflow" if root.id == "redun" else root.id
                self._replace(node, f"{known}.{RENAMED.get(node.attr, node.attr)}")

    def _advise(self, node: ast.AST, name: str, known: str = "") -> None:
        """Note what has no counterpart. known: what the file calls it, if it is imported here."""
        if name not in rayflow.__all__ and name != "*" and (name not in MODULES or known):
            advice = LOOK.get(name, "rayflow has no such name")
            if known:
                uses = (each for each in ast.walk(self.tree) if isinstance(each, ast.Name) and each.id == known)
                lines = sorted({each.lineno for each in uses if each not in self.evaluated})
                advice += f" (used in line {', '.join(map(str, lines))})" if lines else " (nothing here uses it)"
            self._note(node, name, advice)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if _is_redun(alias.name):
                    begin, _ = self._span(alias)
                    self.edits.append((begin, begin + len(alias.name), "rayflow"))
            return
        if (node.module or "").partition(".")[0] != "redun":
            return
        kept: list[str] = []
        modules: list[str] = []
        is_same = True
        for alias in node.names:
            is_evaluator = alias.name == "eval_" and bool(self.evaluators)
            kept += sorted(self.evaluators) if is_evaluator else []
            is_same = is_same and not is_evaluator
            if alias.name in self.dropped or (is_evaluator and self._is_evaluated(alias)) or _is_module(node, alias):
                is_same = False
                modules += [f"import rayflow as {alias.asname or alias.name}"] if _is_module(node, alias) else []
                continue
            if alias.name not in RENAMED:
                self._advise(node, alias.name, alias.asname or alias.name)
            is_same = is_same and alias.name not in RENAMED
            new = RENAMED.get(alias.name, alias.name)
            kept.append(f"{new} as {alias.asname}" if alias.asname else new)
        begin, end = self._span(node)
        if modules:
            kept = list(dict.fromkeys(kept))
            lines = [*([f"from rayflow import {', '.join(kept)}"] if kept else []), *modules]
            self.edits.append((begin, end, ("\n" + " " * node.col_offset).join(lines)))
        elif kept and is_same:
            match = re.compile(rb"\bredun[\w.]*").search(self.data, begin)
            assert match is not None
            self.edits.append((match.start(), match.end(), "rayflow"))
        elif kept:
            self.edits.append((begin, end, f"from rayflow import {', '.join(dict.fromkeys(kept))}"))
        else:
            self.edits.append((begin, end + (self.data[end : end + 1] == b"\n"), ""))

    def _namespaces(self) -> None:
        """`namespace("x")` becomes the variable of the module, where it says one thing for all of it."""
        calls = [
            each
            for each in ast.walk(self.tree)
            if isinstance(each, ast.Call) and self._name_of(each.func) == "namespace"
        ]
        alone = [each.value for each in self.tree.body if isinstance(each, ast.Expr)]
        for call in calls:
            given = call.args[0] if call.args else None
            if len(calls) == 1 and call in alone and isinstance(given, ast.Constant) and isinstance(given.value, str):
                self._replace(call, f"rayflow_namespace = {self._source(given)}")
                self.dropped.add("namespace")
            else:
                self._note(call, "namespace", "write @task(namespace=...) at each task below it")

    # --- calls ------------------------------------------------------------------------------------------------------

    def _call(self, node: ast.Call) -> None:
        name = self._name_of(node.func)
        if "eval_" in (name, self._name_of(node.func.value) if isinstance(node.func, ast.Attribute) else ""):
            self._eval(node)
        method = node.func.attr if isinstance(node.func, ast.Attribute) and not name else ""
        if name == "script":
            self._script(node)
        elif name == "subrun":
            self._options(node, ignored=OF_FORMS["subrun"])
            for profile in node.args[1:]:
                self._executor(profile)
        elif name == "catch_all":
            self._catch_all(node)
        elif name == "task":
            self._options(node, is_task=True)
        elif name == "wraps_task":
            self._options(node, is_task=True, ignored=OF_FORMS["wraps_task"])
        elif method in OF_FILES:
            for keyword in node.keywords:
                if keyword.arg in OF_FILES[method]:
                    self._note(node, keyword.arg, OF_FILES[method][keyword.arg])
        elif method in ("options", "export_options"):
            self._options(node)
            if method == "export_options":
                advice = "options that it exports are those of the calls below; add .options(...) where it needs them"
                self._note(node, method, advice)

    def _options(self, node: ast.Call, *, is_task: bool = False, ignored: dict[str, str] | None = None) -> None:
        for keyword in node.keywords:
            name, value = keyword.arg, keyword.value
            if name is None:
                continue
            if ignored and name in ignored:
                self._forms_own(node, keyword, ignored[name])
            elif name == "script" and is_task and isinstance(value, ast.Constant) and value.value is True:
                self._replace(value, '"bytes"')
            elif name == "memory":
                self._memory(value)
            elif name == "tags":
                self._tags(value)
            elif name == "executor":
                self._executor(value)
            elif name in OF_EXECUTORS:
                new, advice = OF_EXECUTORS[name]
                if new:
                    self._rename(keyword, new)
                if name == "image":
                    begin, end = self._span(value)
                    self.edits += [(begin, begin, '{"image_uri": '), (end, end, "}")]
                if advice:
                    self._note(keyword, name, advice)
            elif name not in OPTIONS and name not in ALIASES:
                self._note(keyword, name, "no option of rayflow's has this name: see the table in rayflow's README")

    def _forms_own(self, call: ast.Call, keyword: ast.keyword, advice: str) -> None:
        """An argument that only this form has: it is renamed (=), left out (-), or named."""
        assert keyword.arg is not None
        if advice.startswith("="):
            self._rename(keyword, advice[1:])
        elif advice.startswith("-"):
            self._leave_out(call, keyword)
            if advice[1:]:
                self._note(keyword, keyword.arg, advice[1:])
        else:
            self._note(keyword, keyword.arg, advice)

    def _rename(self, keyword: ast.keyword, new: str) -> None:
        assert keyword.arg is not None
        begin, _ = self._span(keyword)
        self.edits.append((begin, begin + len(keyword.arg.encode()), new))

    def _leave_out(self, call: ast.Call, keyword: ast.keyword) -> None:
        begin, end = self._span(keyword)
        after = re.compile(rb"\s*,\s*").match(self.data, end)
        if after is not None:
            self.edits.append((begin, after.end(), ""))
            return
        before = re.compile(rb",\s*$").search(self.data[:begin])
        self.edits.append((before.start() if before else begin, end, ""))

    def _memory(self, value: ast.expr) -> None:
        if isinstance(value, ast.Constant) and isinstance(value.value, int | float):
            self._replace(value, f'"{value.value}GiB"')
        elif not isinstance(value, ast.Constant):
            begin, end = self._span(value)
            is_tight = isinstance(value, ast.Call | ast.Name | ast.Attribute | ast.Subscript)
            self.edits += [(begin, begin, "" if is_tight else "("), (end, end, f"{'' if is_tight else ')'} * 2**30")]

    def _executor(self, value: ast.expr) -> None:
        if isinstance(value, ast.Constant) and value.value in ("default", "process"):
            self._note(value, "executor", f"leave it out, or write a [profiles.{value.value}] in rayflow.toml")

    def _tags(self, value: ast.expr) -> None:
        if isinstance(value, ast.Dict):
            return
        pairs = value.elts if isinstance(value, ast.List | ast.Tuple) else None
        if pairs is not None and all(isinstance(each, ast.Tuple | ast.List) and len(each.elts) == 2 for each in pairs):
            items = [tuple(map(self._source, vars(each)["elts"])) for each in pairs]
            if len({key for key, _ in items}) == len(items):
                self._replace(value, f"{{{', '.join(f'{key}: {item}' for key, item in items)}}}")
                return
        self._note(value, "tags", "tags of a task are a dict, not pairs: one value for each name")

    def _script(self, node: ast.Call) -> None:
        for argument, name in zip(node.args[1:], ("inputs", "outputs", "tempdir"), strict=False):
            begin, _ = self._span(argument)
            self.edits.append((begin, begin, f"{name}="))
        given = {keyword.arg: keyword for keyword in node.keywords}
        if len(node.args) < 4 and "tempdir" not in given and None not in given:
            _, end = self._span((*node.args, *node.keywords)[-1])
            self.edits.append((end, end, ", tempdir=False"))
        outputs = given["outputs"].value if "outputs" in given else node.args[2] if len(node.args) > 2 else None
        if outputs is None or self._is_stdout(outputs):
            _, end = self._span(node)
            self.edits.append((end, end, ".encode()"))  # what is printed is text here
        elif any(map(self._is_stdout, ast.walk(outputs))):
            self._note(outputs, "script", "what it prints, File(\"-\"), is text here, not bytes")
        if node.args and isinstance(node.args[0], ast.List):
            words = [each.value if isinstance(each, ast.Constant) else None for each in node.args[0].elts]
            if all(isinstance(each, str) for each in words):
                self._replace(node.args[0], repr(shlex.join(map(str, words))))
            else:
                self._note(node, "script", "the command is a text: shlex.join([...])")
        known = ("command", "inputs", "outputs", "tempdir")
        options = ast.Call(node.func, [], [each for each in node.keywords if each.arg not in (*known, "as_mount")])
        self._options(options)
        if "as_mount" in given:
            self._leave_out(node, given["as_mount"])
            self._note(node, "as_mount", "files are staged as copies")

    def _is_stdout(self, node: ast.AST) -> bool:
        is_file = isinstance(node, ast.Call) and self._name_of(node.func) == "File" and len(node.args) == 1
        return is_file and isinstance(path := vars(node)["args"][0], ast.Constant) and path.value == "-"

    def _catch_all(self, node: ast.Call) -> None:
        names = [keyword.arg for keyword in node.keywords]
        wanted = ["exprs", "error_class", "recover"][len(node.args) :]
        if names == wanted[: len(names)]:
            for keyword in node.keywords:
                self.edits.append((self._span(keyword)[0], self._span(keyword.value)[0], ""))
        else:
            self._note(node, "catch_all", "write catch_all(exprs, Error, recover), in this order and without names")

    def _eval(self, node: ast.Call) -> None:
        """`eval_("a + b", 1, b=2, pos_args=["a"])` becomes a call of a lambda; its partial becomes a task of one."""
        is_partial = isinstance(node.func, ast.Attribute) and node.func.attr == "partial"
        function = vars(node.func)["value"] if is_partial else node.func
        named = {keyword.arg: keyword for keyword in node.keywords}
        given = named.pop("pos_args", None)
        try:
            code = str(ast.literal_eval(node.args[0])).strip()
            body = ast.parse(code, mode="eval").body
            first: list[str] = list(ast.literal_eval(given.value)) if given else []
        except (SyntaxError, ValueError, IndexError):
            return
        is_given = bool(named) or len(node.args) > 1
        if "#" in code or None in named or (is_partial and is_given):
            return
        new = "as_task" if is_partial else "apply_func"
        names = [*first, *(str(name) for name in named)]
        code = f"({code})" if isinstance(body, ast.Tuple | ast.NamedExpr) else code
        self.evaluated.add(function)
        self.evaluators.add(new)
        root = self._source(function).partition(".")[0]
        called = new if isinstance(function, ast.Name) else f"{'rayflow' if root == 'redun' else root}.{new}"
        self._replace(node.func, called)
        self._replace(node.args[0], f"lambda{' ' * bool(names)}{', '.join(names)}: {code}")
        if given:
            self._leave_out(node, given)

    def _is_evaluated(self, alias: ast.alias) -> bool:
        """Whether all uses of `eval_` are written as lambdas by now."""
        known = alias.asname or alias.name
        uses = {each for each in ast.walk(self.tree) if isinstance(each, ast.Name) and each.id == known}
        return uses <= self.evaluated

    # --- types ------------------------------------------------------------------------------------------------------

    def _types(self) -> None:
        """Name arguments that an annotation does not take: in redun they pass, and here they end the call."""
        tasks = {each.name: each for each in self.tree.body if isinstance(each, _FUNCTION) and self._is_task(each)}
        for function in tasks.values():
            told: dict[str, list[ast.expr]] = {}
            for node in ast.walk(function):
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    told.setdefault(node.targets[0].id, []).append(node.value)
            known = {name: values[0] for name, values in told.items() if len(values) == 1}
            for node in ast.walk(function):
                called = _called(node.func) if isinstance(node, ast.Call) else ""
                if isinstance(node, ast.Call) and called in tasks:
                    self._arguments(node, tasks[called], known)

    def _is_task(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
        """Whether it is a task whose arguments are checked."""
        made = [each.func if isinstance(each, ast.Call) else each for each in function.decorator_list]
        return [self._name_of(each) for each in made] == ["task"]

    def _arguments(
        self, call: ast.Call, function: ast.FunctionDef | ast.AsyncFunctionDef, known: dict[str, ast.expr]
    ) -> None:
        wanted = {each.arg: each.annotation for each in (*function.args.args, *function.args.kwonlyargs)}
        placed = function.args.args[len(function.args.args) - len(function.args.defaults) :]
        defaults = [*zip(placed, function.args.defaults, strict=True)]
        named = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
        defaults += [(each, default) for each, default in named if default is not None]
        usual = {each.arg: self._type(default) for each, default in defaults}
        given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
        if not any(isinstance(each, ast.Starred) for each in call.args):
            given |= dict(zip([each.arg for each in function.args.args], call.args, strict=False))
        for name, value in given.items():
            hint = wanted.get(name)
            of = self._type(known.get(value.id, value) if isinstance(value, ast.Name) else value)
            if isinstance(hint, ast.Name) and of and hint.id in _FITS and of not in (*_FITS[hint.id], usual.get(name)):
                told = f"{function.name}() says {hint.id} for {name!r}, and this gives {of}"
                if of == "bytes" and hint.id == "str":
                    told += ": say bytes there, or leave .encode() out"
                else:
                    told += ": say so there, or @task(check_types=False)"
                self.notes.append((value.lineno, f"types: {told}"))

    def _type(self, value: ast.expr) -> str:
        """The type of a constant, and of what a script prints; empty for all else."""
        if isinstance(value, ast.Constant):
            return "None" if value.value is None else type(value.value).__name__
        if isinstance(value, ast.Call) and self._name_of(value.func) == "script":
            outputs = [each.value for each in value.keywords if each.arg == "outputs"] or value.args[2:3]
            return "bytes" if not outputs or self._is_stdout(outputs[0]) else ""
        return ""

    def _test(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Name fixtures that redun brings."""
        for each in function.args.args:
            if each.arg in FIXTURES and not self._is_defined(each.arg):
                self._note(each, each.arg, FIXTURES[each.arg])

    def _is_defined(self, name: str) -> bool:
        return any(isinstance(each, _FUNCTION) and each.name == name for each in self.tree.body)

    # --- classes ----------------------------------------------------------------------------------------------------

    def _class(self, node: ast.ClassDef) -> None:
        bases = {self._name_of(base) for base in node.bases}
        if not bases & {"Value", "ProxyValue"}:
            return
        hooks = {**OF_VALUES, **OF_HANDLERS} if "ProxyValue" in bases else OF_VALUES
        for each in node.body:
            name = ""
            if isinstance(each, ast.FunctionDef):
                name = each.name
            elif isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
                name = each.targets[0].id
            if name in hooks:
                self._note(each, f"{node.name}.{name}", hooks[name])


_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)

_FITS = {
    "int": ("int", "bool"),
    "float": ("float", "int", "bool"),
    "str": ("str",),
    "bool": ("bool",),
    "bytes": ("bytes",),
}
"""Types of constants that an annotation takes."""


def _called(node: ast.AST) -> str:
    """The name of the task in f(...), f.partial(...) and f.options(...)(...)."""
    if isinstance(node, ast.Attribute) and node.attr == "partial":
        node = node.value
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr not in ("options", "update_context"):
            return ""
        node = node.func.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_redun(module: str) -> bool:
    return module.partition(".")[0] == "redun"


def _is_module(node: ast.ImportFrom, alias: ast.alias) -> bool:
    """Whether a module of redun's is imported, and not one of its names."""
    is_function = alias.name == "namespace" or alias.name in rayflow.__all__
    return node.module == "redun" and alias.name in MODULES and not is_function


def port(text: str) -> tuple[str, list[Note]]:
    """The text as rayflow takes it, and notes."""
    porter = Porter(text)
    return porter.ported(), sorted(set(porter.notes))


def port_file(file: Path) -> list[str]:
    """Port one file; gives what to tell about it."""
    if file.suffix == ".ini":
        target = file.resolve().parent / "rayflow.toml"
        if file.parent.name == ".redun":
            target = file.resolve().parent.parent / "rayflow.toml"
        if target.exists():
            return [f"{file}: {target} is there already: move it away, or port the settings by hand"]
        before = file.read_text()
        toml, notes = settings.ported(before)
        target.write_text(toml)
    else:
        before = file.read_text()
        text, notes = port(before)
        file.write_text(text)
    if not notes:
        return [f"{file}: ported"]
    lines = before.splitlines()
    return [f"{file}:{line}: {told}\n    {lines[line - 1].strip()}" for line, told in notes]


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print("\n".join(port_file(Path(argument))))
