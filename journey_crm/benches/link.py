"""A link of 10 ms to a server on this machine, in a process of its own."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

# One way; there and back 10 ms.
DELAY = 0.005


@contextmanager
def link(port: int) -> Iterator[int]:
    """A port behind which that other one is, 5 ms away."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        near = probe.getsockname()[1]
    command = [sys.executable, "-m", "journey_crm.benches.link", str(near), str(port)]
    process = subprocess.Popen(command, cwd=settings.ROOT)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", near), 0.2).close()
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError("The link did not come up.") from None
                time.sleep(0.05)
        yield near
    finally:
        process.terminate()
        process.wait(20)


class _End(asyncio.Protocol):
    """One end of a connection: what it hears, the other end says 5 ms later."""

    def __init__(self, loop: asyncio.AbstractEventLoop, port: int | None = None) -> None:
        self.loop, self.port = loop, port
        self.other: _End | None = None
        self.early: list[bytes] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.port is not None:
            self.task = self.loop.create_task(self._meet(self.port))

    async def _meet(self, port: int) -> None:
        _transport, other = await self.loop.create_connection(lambda: _End(self.loop), "127.0.0.1", port)
        other.other, self.other = self, other
        for data in self.early:
            self.data_received(data)
        if self.transport is None or self.transport.is_closing():
            other.close()

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        else:
            self.loop.call_later(DELAY, self.other.say, data)

    def say(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None:
            self.loop.call_later(DELAY, self.other.close)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


async def _serve(near: int, far: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _End(loop, far), "127.0.0.1", near)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
