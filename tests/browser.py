"""A real browser on our own pages: found, guarded, logged in."""

from dataclasses import dataclass, field

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore

from scripts.prepare import find_browser

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
]


def launch_arguments() -> dict:
    """Arguments for Playwright's `launch`."""
    program = find_browser()
    if program is None:
        raise RuntimeError("No Chromium or Chrome was found; `make test` says how to get one.")
    return {"executable_path": program, "args": FLAGS}


def log_in(page, user) -> None:
    """Makes the page's browser context the user's, by a session cookie; no log-in form is filled."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    page.context.add_cookies(
        [{"name": settings.SESSION_COOKIE_NAME, "value": session.session_key, "url": page.base_origin}]
    )


@dataclass
class Complaints:
    """What the browser itself found wrong on the pages of one test."""

    found: list[str] = field(default_factory=list)

    def watch(self, context) -> None:
        context.on("weberror", lambda error: self.found.append(f"page error: {error.error}"))
        context.on("console", self._console)

    def _console(self, message) -> None:
        # Chromium reports a violated Content-Security-Policy as a console error, too.
        if message.type == "error":
            self.found.append(f"console: {message.text} ({message.location.get('url', '')})")

    def forgive(self, part: str) -> None:
        """For a test that provokes an error on purpose: drops the complaints that contain `part`."""
        self.found = [complaint for complaint in self.found if part not in complaint]
