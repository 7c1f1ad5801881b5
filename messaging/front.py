"""The short way for clicks, opens and one-click unsubscribes, before Django: no session, language, form or page.

Every mail makes several of these requests, and most come from programs, so what one costs is what the house can bear.
Here is answered from memory alone, with headers as strict as those of any page, or stricter. What is not plainly a
click or an open of ours (another method, a token that nobody signed, a link that this process has not seen yet) goes on
to Django, whose views (`messaging.views`, `messaging.preferences`) say the same and fill the memory.
"""

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from contacts.problems import is_database_away
from messaging import pressing, tokens, views
from messaging.models import Hit
from messaging.public import PRIVATE

_CLICK, _OPEN, _END, _PERSON = "/t/c/", "/t/o/", ".gif", "/u/"
# What a mail program sends when its button is pressed (RFC 8058), and how it says what it sends.
_PRESS, _FORM = b"List-Unsubscribe=One-Click", "application/x-www-form-urlencoded"


class Front:
    """A WSGI application before another one."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self.application = application
        headers = {
            **PRIVATE,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
        }
        if settings.SECURE_HSTS_SECONDS:
            headers["Strict-Transport-Security"] = f"max-age={settings.SECURE_HSTS_SECONDS}"
        self._click = [*headers.items(), ("Cross-Origin-Opener-Policy", "same-origin"), ("Content-Length", "0")]
        self._pressed = [*headers.items(), ("Content-Type", "text/plain"), ("Content-Length", "0")]
        self._open = [
            *headers.items(),
            ("Cross-Origin-Resource-Policy", "cross-origin"),
            ("Content-Type", "image/gif"),
            ("Content-Length", str(len(views.PIXEL))),
        ]

    def __call__(self, request: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = request.get("PATH_INFO", "")
        if path.startswith("/t/") and request.get("REQUEST_METHOD") in ("GET", "HEAD"):
            if path.startswith(_CLICK):
                found = tokens.remembered(tokens.CLICK, path[len(_CLICK) :])
                where = views.remembered(found[1]) if found and found[1] != Hit.HIDDEN_LINK else None
                if found and where:
                    self._take(request, *found)
                    start_response("302 Found", [*self._click, ("Location", where)])
                    return []
            elif path.startswith(_OPEN) and path.endswith(_END):
                found = tokens.remembered(tokens.OPEN, path[len(_OPEN) : -len(_END)])
                if found:
                    self._take(request, found[0], None)
                    start_response("200 OK", list(self._open))
                    return [] if request["REQUEST_METHOD"] == "HEAD" else [views.PIXEL]
        elif path.startswith(_PERSON) and request.get("REQUEST_METHOD") == "POST":
            try:
                is_pressed = self._press(request, path)
            except (DatabaseError, InterfaceError) as error:
                if not is_database_away(error):
                    raise
                # Whoever is told to come again does; after an error of ours mail programs give up.
                start_response("503 Service Unavailable", [*self._pressed, ("Retry-After", "5")])
                return []
            if is_pressed:
                start_response("200 OK", list(self._pressed))
                return []
        return self.application(request, start_response)

    def _press(self, request: dict[str, Any], path: str) -> bool:
        """Unsubscribes, if this is plainly a mail program's press; durable when it returns."""
        if request.get("CONTENT_LENGTH") != str(len(_PRESS)) or not request.get("CONTENT_TYPE", "").startswith(_FORM):
            return False
        found = tokens.remembered(tokens.PERSON, path[len(_PERSON) :].removesuffix("/"))
        if not found:
            return False
        body = request["wsgi.input"].read(len(_PRESS))
        if body != _PRESS:
            request["wsgi.input"] = BytesIO(body)
            return False
        agent = request.get("HTTP_USER_AGENT", "")[:500].replace("\0", "")
        message, contact = found
        pressing.press(pressing.Press(message, contact, request.get("REMOTE_ADDR") or None, agent))
        return True

    def _take(self, request: dict[str, Any], message: int, link: int | None) -> None:
        agent, address = request.get("HTTP_USER_AGENT", ""), request.get("REMOTE_ADDR", "")
        views.take(message, link, request["REQUEST_METHOD"], agent, address)
