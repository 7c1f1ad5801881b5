"""The short way for clicks and opens, before all other middleware: they know no session, language, form or page.

Every mail makes several of these requests and most come from programs, so what each costs is what the house can bear.
What is not plainly a click or an open of ours (another method, a token nobody signed) takes the whole way.
"""

from collections.abc import Callable

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse

from messaging import views

_CLICK, _OPEN, _END = "/t/c/", "/t/o/", ".gif"


class Shortcut:
    """Answers clicks and opens with headers as strict as those of any page, or stricter."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.headers = {
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        }
        if settings.SECURE_HSTS_SECONDS:
            self.headers["Strict-Transport-Security"] = f"max-age={settings.SECURE_HSTS_SECONDS}"

    def __call__(self, request: HttpRequest) -> HttpResponse:
        path = request.path_info
        if not path.startswith("/t/") or request.method not in ("GET", "HEAD"):
            return self.get_response(request)
        try:
            if path.startswith(_CLICK):
                response = views.click(request, path[len(_CLICK) :])
            elif path.startswith(_OPEN) and path.endswith(_END):
                response = views.opened(request, path[len(_OPEN) : -len(_END)])
            else:
                return self.get_response(request)
        except Http404:
            return self.get_response(request)
        response["Content-Length"] = str(len(response.content))
        for name, value in self.headers.items():
            response[name] = value
        return response
