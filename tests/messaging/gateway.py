"""A real HTTP server that plays a provider, a gateway or another system: it keeps what it gets."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Gateway:
    """`on_request` answers (status, JSON), or "drop": the connection ends without an answer. `connections` counts."""

    requests: list[Request] = field(default_factory=list)
    on_request: Callable[[Request], tuple[int, Any] | str] = lambda request: (200, {})
    connections: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


class GatewayServer:
    def __init__(self) -> None:
        gateway = self.gateway = Gateway()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                with gateway.lock:
                    gateway.connections += 1

            def do_POST(self) -> None:  # noqa: N802 - http.server's name
                length = int(self.headers.get("Content-Length") or 0)
                request = Request(self.path, {k.lower(): v for k, v in self.headers.items()}, self.rfile.read(length))
                with gateway.lock:
                    gateway.requests.append(request)
                answer = gateway.on_request(request)
                if answer == "drop":
                    self.close_connection = True
                    return
                status, data = answer
                body = data.encode() if isinstance(data, str) else json.dumps(data).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Tests say what they need to say."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def __enter__(self) -> Gateway:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.gateway.url = f"http://127.0.0.1:{self._server.server_port}"
        return self.gateway

    def __exit__(self, *error: Any) -> None:
        self._server.shutdown()
        self._server.server_close()
