"""A small SMTP server that pipelines, and can drop the line at chosen places: what aiosmtpd does not do."""

import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class PipeliningServer:
    """Keeps the raw texts. `on_text(number, raw)` may answer a reply, or "drop" to close the line without one."""

    extensions: tuple[str, ...] = ("PIPELINING", "8BITMIME")
    on_text: Callable[[int, bytes], str | None] = lambda number, raw: None
    on_recipient: Callable[[bytes], str | None] = lambda line: None
    texts: list[bytes] = field(default_factory=list)
    recipients: list[bytes] = field(default_factory=list)
    connections: int = 0
    url: str = ""

    def __enter__(self) -> "PipeliningServer":
        owner, lock = self, threading.Lock()

        class Handler(socketserver.StreamRequestHandler):
            def say(self, line: str) -> None:
                self.wfile.write(line.encode() + b"\r\n")

            def handle(self) -> None:
                with lock:
                    owner.connections += 1
                self.say("220 here")
                recipient = b""
                while line := self.rfile.readline():
                    word = line[:4].upper()
                    if word == b"EHLO":
                        names = ["hello", *owner.extensions]
                        for name in names[:-1]:
                            self.say(f"250-{name}")
                        self.say(f"250 {names[-1]}")
                    elif word == b"MAIL":
                        self.say("503 nested" if recipient else "250 ok")
                    elif word == b"RSET":
                        recipient = b""
                        self.say("250 ok")
                    elif word == b"RCPT":
                        reply = owner.on_recipient(line)
                        recipient = b"" if reply else line.strip()
                        self.say(reply or "250 ok")
                    elif word == b"DATA":
                        if not recipient:
                            self.say("554 no valid recipients")
                            continue
                        self.say("354 go on")
                        raw = b""
                        while (text := self.rfile.readline()) not in (b".\r\n", b""):
                            raw += text[1:] if text.startswith(b".") else text
                        with lock:
                            number = len(owner.texts)
                            owner.texts.append(raw)
                            owner.recipients.append(recipient)
                        reply = owner.on_text(number, raw)
                        recipient = b""
                        if reply == "drop":
                            return
                        self.say(reply or "250 taken")
                    elif word == b"QUIT":
                        self.say("221 bye")
                        return
                    else:
                        self.say("500 what?")

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"smtp://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self._server.shutdown()
        self._server.server_close()
