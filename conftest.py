"""What every test may use. The run's own database and broker come from `tests/stores.py`."""

from datetime import UTC, datetime

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db.models import Max
from django.utils import translation

from journey_crm import invariants
from messaging.models import Message, Topic
from tests.browser import Complaints, launch_arguments
from tests.sink import SinkServer

# A slow hash guards real passwords; here it would cost half a second a user.
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# A click is in the database when it is answered, on the test's own connection.
settings.HITS_PAUSE = 0


@pytest.fixture
def now() -> datetime:
    """A Tuesday morning, fixed: 2026-11-10 10:00 in Prague."""
    return datetime(2026, 11, 10, 9, 0, tzinfo=UTC)


@pytest.fixture
def topics(db):
    """The topics “news” and “tips”, of which clients may tell consent."""
    for key in ("news", "tips"):
        Topic.objects.get_or_create(key=key, defaults={"name": key})


@pytest.fixture
def smtp_sink(monkeypatch):
    """A real SMTP server that keeps what it gets (see `tests/sink.py`); mail goes to it while the test runs."""
    with SinkServer() as sink:
        monkeypatch.setattr(settings, "EMAIL_URL", sink.url)
        yield sink


@pytest.fixture(autouse=True)
def data_dir(tmp_path, settings):
    """What a test writes into files, mail and uploads, goes to its own folder."""
    settings.MEDIA_ROOT = tmp_path / "files"  # the fixture tells the storage, which remembers its place
    if settings.EMAIL_URL.startswith("maildir:"):
        settings.EMAIL_URL = f"maildir:{tmp_path}/mail"
    settings.SMS_URL = f"file:{tmp_path}/sms"
    return tmp_path


@pytest.fixture(autouse=True)
def nothing_remembered():
    """What an earlier test's pages remembered is forgotten."""
    cache.clear()


@pytest.fixture(autouse=True)
def in_english():
    """A page asked for in another language leaves its thread speaking it; the next test begins in English again."""
    with translation.override("en"):
        yield


# Invariants ----------------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """A test that made messages ends with all invariants kept; asked before its rows are rolled back."""
    result = yield
    if {"db", "transactional_db", "live_server"} & set(item.fixturenames):
        _check_invariants()
    return result


def _check_invariants() -> None:
    latest = Message.objects.aggregate(latest=Max("created_at"))["latest"]
    if latest is None:
        return
    # The clocks of tests are virtual: asked as of the newest tick, else of the newest message.
    counts = invariants.check(invariants.last_tick() or latest)
    if not Message.objects.filter(claimed_at__isnull=False).exists():
        del counts["I1"]  # about late deliveries, and this test delivers nothing
    broken = {name: count for name, count in counts.items() if count}
    assert not broken, f"invariants broken after this test: {broken}"


# Browser -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict:
    return launch_arguments()


@pytest.fixture(scope="session")
def base_url(live_server) -> str:
    """Where the pages are served from while a browser test runs."""
    return live_server.url


@pytest.fixture(scope="session", autouse=True)
def _verify_url() -> None:
    """pytest-base-url's own would start the live server for every test."""


@pytest.fixture
def complaints() -> Complaints:
    """What the browser found wrong; must be empty at the end of a browser test."""
    return Complaints()


@pytest.fixture
def context(browser, browser_context_args, base_url, complaints):
    """A browser context that reaches nothing but our own server and fails the test on errors of the page."""
    context = browser.new_context(**{**browser_context_args, "base_url": base_url})
    context.route(lambda url: not url.startswith((base_url, "data:", "blob:")), lambda route: route.abort())
    complaints.watch(context)
    yield context
    context.close()
    assert not complaints.found, "\n".join(complaints.found)


@pytest.fixture
def page(context, base_url):
    page = context.new_page()
    page.base_origin = base_url
    return page
