"""Where the mails of the bench go: an SMTP server that reads everything and keeps nothing.

Postfix's `smtp-sink` where it is installed, else the few lines below in a process of their own.
"""

import asyncio
import os
import re
import selectors
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from django.conf import settings

# As a process of its own the sink knows nothing of Django's apps.
if TYPE_CHECKING:
    from messaging.channels import Outgoing

_SBIN = "/usr/sbin:/usr/lib/postfix/sbin:/usr/local/sbin"


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=_SBIN)


@contextmanager
def sink() -> Iterator[tuple[int, str]]:
    """The port of a running sink, and which one it is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = _program("smtp-sink")
    name = "smtp-sink" if program else "our own asyncio sink"
    command = [sys.executable, "-m", "journey_crm.benches.sink", str(port)]
    if program:
        # It will not run as root.
        command = [program, *(["-u", "nobody"] if os.geteuid() == 0 else []), f"127.0.0.1:{port}", "1000"]
    process = subprocess.Popen(command, cwd=settings.ROOT)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError(f"{name} did not start.") from None
                time.sleep(0.05)
        yield port, name
    finally:
        process.terminate()
        process.wait(20)


def rate_of_source(port: int, connections: int, mails: int, size: int) -> float | None:
    """Mails a second from Postfix's `smtp-source`, which neither builds nor pipelines; None without it."""
    program = _program("smtp-source")
    if program is None:
        return None
    begin = time.perf_counter()
    subprocess.run(
        [
            *(program, "-d", "-s", str(connections), "-m", str(mails), "-l", str(size)),
            *("-f", "bench@example.com", "-t", "bench@example.com", f"127.0.0.1:{port}"),
        ],
        check=True,
        timeout=600,
    )
    return mails / (time.perf_counter() - begin)


def send_bare(port: int, mails: "Sequence[Outgoing]", connections: int) -> None:
    """Hands over mails as fast as a client can that obeys RFC 2920: a text and the next envelope leave together.

    Everything is built before. Raises RuntimeError if a mail is not taken.
    """
    data = [
        (
            f"MAIL FROM:<{one.sender}>\r\nRCPT TO:<{one.recipient}>\r\nDATA\r\n".encode(),
            one.raw.replace(b"\r\n.", b"\r\n..") + b".\r\n",
        )
        for one in mails
    ]
    taken = 0
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for number in range(connections):
            wire = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            share = iter(data[number::connections])
            envelope, text = next(share, (b"", b""))
            if not envelope:
                continue
            reader = wire.makefile("rb")
            for command in (b"", b"EHLO bench.example\r\n"):
                wire.sendall(command)
                while reader.readline()[3:4] == b"-":
                    pass
            wire.sendall(envelope)
            selector.register(wire, selectors.EVENT_READ, [share, text, bytearray()])
        while selector.get_map():
            for key, _events in selector.select():
                assert isinstance(key.fileobj, socket.socket)
                wire, state = key.fileobj, key.data
                share, text, buffer = state
                received = wire.recv(65536)
                buffer += received
                if not received:
                    raise RuntimeError("The sink hung up.")
                if not buffer.endswith(b"\r\n"):
                    continue
                codes = {line[:3] for line in bytes(buffer).splitlines()}
                if not codes <= {b"250", b"354"}:
                    raise RuntimeError(f"The sink answered {bytes(buffer)!r}.")
                if b"354" not in codes:
                    if text:
                        continue  # the envelope's other replies are still under way
                    selector.unregister(wire)
                    taken += 1
                    continue
                buffer.clear()
                envelope, following = next(share, (b"", b""))
                wire.sendall(text + envelope)
                taken += bool(envelope)
                key.data[1] = following
    if taken != len(mails):
        raise RuntimeError(f"The sink took {taken} of {len(mails)} mails.")


class _Sink(asyncio.Protocol):
    """Says yes to everything."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.buffer, self.is_text = transport, b"", False
        self._answer(b"220 sink ESMTP\r\n")

    def _answer(self, said: bytes) -> None:
        assert isinstance(self.transport, asyncio.WriteTransport)
        self.transport.write(said)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        said = b""
        while True:
            if self.is_text:
                end = self.buffer.find(b"\r\n.\r\n")
                if end < 0:
                    break
                self.buffer, self.is_text = self.buffer[end + 5 :], False
                said += b"250 2.0.0 Ok\r\n"
                continue
            line, found, rest = self.buffer.partition(b"\r\n")
            if not found:
                break
            self.buffer, verb = rest, re.split(rb"[ :]", line, maxsplit=1)[0].upper()
            if verb == b"DATA":
                self.is_text, said = True, said + b"354 Go on\r\n"
                # An empty text begins with its end.
                self.buffer = b"\r\n" + self.buffer
            elif verb == b"EHLO":
                said += b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
            elif verb == b"QUIT":
                self._answer(said + b"221 Bye\r\n")
                self.transport.close()
                return
            else:
                said += b"250 2.0.0 Ok\r\n"
        if said:
            self._answer(said)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Sink, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
