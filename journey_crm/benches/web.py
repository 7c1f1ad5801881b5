"""Our own web server as `make up` runs it, and a client that costs it as little as can be."""

import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from django.db import connection

from journey_crm.benches import url


def post(path: str, authorization: str, body: bytes) -> bytes:
    """A request of JSON, as it goes over the wire."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: {authorization}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str, agent: str) -> bytes:
    """A browser's request for a page or a picture."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {agent}\r\nAccept: */*\r\n\r\n".encode()


@contextmanager
def server(application: str = "journey_crm.wsgi:application") -> Iterator[int]:
    """granian on a free port and on the database at hand, with the options of `make up`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    there = {
        "DATABASE_URL": url(connection.settings_dict["NAME"]),
        "ALLOWED_HOSTS": "localhost",
        "PYTHONWARNINGS": "ignore",
    }
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "granian", application, "--interface", "wsgi", "--no-ws"),
            *("--host", "127.0.0.1", "--port", str(port), "--workers", "2", "--blocking-threads", "4"),
            *("--log-level", "error", "--workers-kill-timeout", "4"),
        ],
        env={**os.environ, **there},
    )
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                if process.poll() is not None:
                    break
                time.sleep(0.1)
        else:
            raise RuntimeError("granian does not answer.")
        if process.poll() is not None:
            raise RuntimeError("granian did not start.")
        yield port
    finally:
        process.terminate()
        process.wait(20)


def send(port: int, requests: list[bytes], clients: int, status: int = 200) -> None:
    """All requests over so many kept connections, one under way on each; raises RuntimeError for any other status.

    Bare sockets: a client that works for its requests would take the processor from the server.
    """
    waiting = iter(requests)
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        busy = 0
        for request in (next(waiting, None) for _ in range(clients)):
            if request is None:
                break
            wire = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            wire.settimeout(60)
            wire.sendall(request)
            selector.register(wire, selectors.EVENT_READ, bytearray())
            busy += 1
        while busy:
            for key, _events in selector.select():
                assert isinstance(key.fileobj, socket.socket)
                wire, answer = key.fileobj, key.data
                received = wire.recv(65536)
                answer += received
                if received and not _is_whole(answer):
                    continue
                if not answer.startswith(f"HTTP/1.1 {status} ".encode()):
                    raise RuntimeError(f"The server answered {bytes(answer[:200])!r}.")
                answer.clear()
                request = next(waiting, None)
                if request is None:
                    selector.unregister(wire)
                    busy -= 1
                else:
                    wire.sendall(request)


def _is_whole(answer: bytearray) -> bool:
    head, end, body = bytes(answer).partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    raise RuntimeError("The server answered without a length.")
