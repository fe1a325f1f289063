"""A flow whose bodies use sys.stdout, sys.stderr and sys.stdin as programs and libraries do."""

from __future__ import annotations

WAYS = {
    "bytes": ("sys.stdout.buffer.write('ä'.encode()), sys.stdout.buffer.flush()", "ä"),
    "a letter in parts": ("[sys.stdout.buffer.write(part) for part in (b'\\xc3', b'\\xa4')]", "ä"),
    "bytes that are no text": ("sys.stdout.buffer.write(b'a\\xffb')", "a�b"),
    "a bytearray": ("sys.stdout.buffer.write(bytearray(b'ab')), sys.stdout.buffer.write(memoryview(b'c'))", "abc"),
    "raw": ("sys.stdout.buffer.raw.write(b'raw')", "raw"),
    "lines": ("sys.stdout.writelines(['a\\n', 'b\\n'])", "a\nb\n"),
    "lines of bytes": ("sys.stdout.buffer.writelines([b'a\\n', b'b\\n'])", "a\nb\n"),
    "text and bytes": ("print('a'), sys.stdout.buffer.write(b'b\\n'), print('c')", "a\nb\nc\n"),
    "reconfigured": (
        "sys.stdout.reconfigure(encoding='ascii', errors='strict', line_buffering=True), print('ä')",
        "ä\n",
    ),
    "redirected": ("redirected(), print('after')", "after\n"),
    "wrapped": ("wrap(), print('wrapped ä'), sys.stderr.write('')", "wrapped ä\n"),
    "a codec's writer": ("codecs.getwriter('utf-8')(sys.stdout.buffer).write('ä')", "ä"),
    "closed": ("sys.stdout.close(), print('still there')", "still there\n"),
    "logged": ("logged(sys.stdout)", "logged\n"),
    "click": ("click.echo('text'), click.echo(b'bytes'), click.secho('red', fg='red')", "text\nbytes\nred\n"),
    "rich": ("rich.console.Console(file=sys.stdout, width=40).print('[red]text[/red]')", "text\n"),
    "pprint": ("pprint.pprint({'a': 1})", "{'a': 1}\n"),
    "faulthandler": ("faulthandler.enable(), faulthandler.disable(), print('on')", "on\n"),
    "warnings": ("warnings.warn_explicit('told', UserWarning, 'file.py', 1), print('out')", "out\n"),
    "no input": ("print([sys.stdin.read(), sys.stdin.readline(), list(sys.stdin)])", "['', '', []]\n"),
}
"""What a body does -> what its log holds of stdout then."""

FLOW = """
    import codecs, contextlib, faulthandler, io, logging, os, pprint, sys, warnings
    import click, rich.console
    from rayflow import task

    def redirected():
        with contextlib.redirect_stdout(io.StringIO()) as into:
            print("inside")
        assert into.getvalue() == "inside\\n"

    def wrap():
        sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")

    def logged(stream):
        logger = logging.Logger("own")
        logger.addHandler(logging.StreamHandler(stream))
        logger.warning("logged")

    def attempt(what):
        try:
            return what()
        except Exception as error:
            return type(error).__name__

    @task
    def use(way: str):
        return [WAYS[way]() and None, way]

    @task
    def look():
        found = []
        for stream, name in ((sys.stdout, "stdout"), (sys.stderr, "stderr")):
            found.append([
                stream.name == f"<{name}>", stream.mode, stream.encoding, stream.errors, stream.newlines, stream.closed,
                stream.isatty(), stream.line_buffering, stream.write_through, stream.writable(), stream.readable(),
                stream.seekable(), isinstance(stream.fileno(), int), stream.write("abc"), stream.flush(),
                stream.buffer.name, stream.buffer.mode, stream.buffer.closed, stream.buffer.isatty(),
                isinstance(stream.buffer.fileno(), int), stream.buffer.write(b"ab"), stream.buffer.writable(),
                *map(attempt, [
                    stream.detach, stream.buffer.detach, stream.read, stream.tell, stream.truncate,
                    lambda: stream.write(b"bytes"), lambda: stream.buffer.write("text"),
                    lambda: print("text", file=stream.buffer), lambda: stream.reconfigure(unknown=1),
                    lambda: stream.unknown,
                ]),
            ])
        return found

    WAYS = {ALL}
""".replace("ALL", ", ".join(f"{name!r}: lambda: ({text},)" for name, (text, _) in WAYS.items()))


def looked_at(name: str) -> list[object]:
    """What `look` finds of a stream."""
    of_text = [True, "w", "utf-8", "backslashreplace", None, False, False, True, False, True, False, False]
    written = [True, 3, None]
    of_bytes = [f"<{name}>", "wb", False, False, True, 2, True]
    refused = ["UnsupportedOperation"] * 5 + ["TypeError"] * 4 + ["AttributeError"]
    return [*of_text, *written, *of_bytes, *refused]
