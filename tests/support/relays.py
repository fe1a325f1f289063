"""What may stand between a user and a dashboard: a proxy of the network, a gate that speaks HTTPS, other servers."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HOST = "rays.test"
"""A name that only a proxy resolves, and that a certificate of ours names."""

Serve = Callable[[socket.socket], None]


@contextmanager
def served(serve: Serve) -> Iterator[int]:
    """A port of this machine where each connection is served by a thread."""
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:  # it was closed
                    return
                thread = threading.Thread(target=guarded, args=(connection,), daemon=True)
                threads.append(thread)
                thread.start()

        def guarded(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):  # who has asked is gone
                serve(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


@contextmanager
def answering(answer: bytes, then: Callable[[socket.socket], None] | None = None) -> Iterator[str]:
    """The URL of a server that answers every request with these bytes, and then does something more."""

    def serve(connection: socket.socket) -> None:
        _head(connection)
        connection.sendall(answer)
        if then is not None:
            then(connection)

    with served(serve) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def proxy(port: int, password: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """A proxy through which every host is this port. Gives its URL, and the first lines of what it was asked.

    password: it lets in nobody without it.
    """
    asked: list[str] = []
    wanted = base64.b64encode(f"ada:{password}".encode()).decode()

    def serve(connection: socket.socket) -> None:
        head, rest = _head(connection)
        first, _, lines = head.partition(b"\r\n")
        asked.append(first.decode())
        if password is not None and f"Basic {wanted}".encode() not in lines:
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        with _connected(port) as there:
            if first.startswith(b"CONNECT"):
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                there.sendall(rest)
            else:
                method, url, version = first.split(b" ")
                path = b"/" + url.split(b"/", 3)[3]
                there.sendall(b" ".join([method, path, version]) + b"\r\n" + lines + b"\r\n\r\n" + rest)
            _relay(connection, there)

    with served(serve) as own:
        yield f"http://127.0.0.1:{own}", asked


@contextmanager
def https_gate(port: int, certificate: Path) -> Iterator[int]:
    """A port that speaks HTTPS before one that speaks HTTP. certificate: a file of `self_made`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inner, _connected(port) as there:
            _relay(inner, there)

    with served(serve) as own:
        yield own


def self_made(folder: Path) -> Path:
    """The file of a new certificate for HOST and this machine, which nobody has signed."""
    path = folder / "own.pem"
    names = f"subjectAltName=DNS:{HOST},DNS:localhost,IP:127.0.0.1"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}"]
    files = ["-addext", names, "-keyout", str(path.with_suffix(".key")), "-out", str(path)]
    subprocess.run([*command, *files], check=True, capture_output=True)
    return path


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port))


def _head(connection: socket.socket) -> tuple[bytes, bytes]:
    """The head of a request without its end, and what has come of its body."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = connection.recv(65_536)
        if not piece:
            raise ConnectionResetError
        got += piece
    head, _, rest = got.partition(b"\r\n\r\n")
    return head, rest


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Pass on what comes, both ways, until the second one has nothing more to say."""

    def pass_on() -> None:
        with contextlib.suppress(OSError):
            while piece := one.recv(65_536):
                other.sendall(piece)

    threading.Thread(target=pass_on, daemon=True).start()
    while piece := other.recv(65_536):
        one.sendall(piece)
