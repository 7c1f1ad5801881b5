"""The short way for clicks and opens, before Django: they know no session, language, form or page.

Every mail makes several of these requests, and most come from programs, so what one costs is what the house can bear.
Here is answered from memory alone, with headers as strict as those of any page, or stricter. What is not plainly a
click or an open of ours (another method, a token that nobody signed, a link that this process has not seen yet) goes on
to Django, whose views (`messaging.views`) say the same and fill the memory.
"""

from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings

from messaging import tokens, views
from messaging.models import Hit
from messaging.public import PRIVATE

_CLICK, _OPEN, _END = "/t/c/", "/t/o/", ".gif"


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
        self._open = [
            *headers.items(),
            ("Cross-Origin-Resource-Policy", "cross-origin"),
            ("Content-Type", "image/gif"),
            ("Content-Length", str(len(views.PIXEL))),
        ]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith("/t/") and environ.get("REQUEST_METHOD") in ("GET", "HEAD"):
            if path.startswith(_CLICK):
                found = tokens.remembered(tokens.CLICK, path[len(_CLICK) :])
                where = views.remembered(found[1]) if found and found[1] != Hit.HIDDEN_LINK else None
                if found and where:
                    self._take(environ, *found)
                    start_response("302 Found", [*self._click, ("Location", where)])
                    return []
            elif path.startswith(_OPEN) and path.endswith(_END):
                found = tokens.remembered(tokens.OPEN, path[len(_OPEN) : -len(_END)])
                if found:
                    self._take(environ, found[0], None)
                    start_response("200 OK", list(self._open))
                    return [] if environ["REQUEST_METHOD"] == "HEAD" else [views.PIXEL]
        return self.application(environ, start_response)

    def _take(self, environ: dict[str, Any], message: int, link: int | None) -> None:
        agent, address = environ.get("HTTP_USER_AGENT", ""), environ.get("REMOTE_ADDR", "")
        views.take(message, link, environ["REQUEST_METHOD"], agent, address)
