"""A pytest plugin: gives a run its own DATA_DIR, PostgreSQL, broker and settings, once for all its processes.

It is named in `addopts` because the environment must stand before pytest-django reads the settings. With DATABASE_URL
or CELERY_BROKER_URL set, that server is used instead of an own one. Whatever was started ends with the run.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from journey_crm.embedded.place import Refusal, forget
from journey_crm.embedded.stores import Stores

_stores: Stores | None = None
_data_dir: Path | None = None


def pytest_addoption(parser) -> None:
    """The earliest hook there is; the processes of xdist inherit what it sets."""
    global _stores, _data_dir
    if os.environ.get("JOURNEY_TEST_RUN"):
        return
    _data_dir = Path(tempfile.mkdtemp(prefix="journey-test-", dir="/tmp"))
    _data_dir.chmod(0o711)  # so that as root the unprivileged database server can enter
    os.environ |= {
        "JOURNEY_TEST_RUN": "1",
        "DATA_DIR": str(_data_dir),
        "SECRET_KEY": "only-for-tests-" + "x" * 40,
        "BASE_URL": "http://localhost:8000",
        "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver",
        "TIME_ZONE": "Europe/Prague",
        "DEBUG": "0",
        "EMAIL_URL": f"maildir:{_data_dir}/mail",
        # Playwright's event loop runs in the thread of the tests; Django's own calls are not async there.
        "DJANGO_ALLOW_ASYNC_UNSAFE": "true",
    }
    # Empty counts as unset, and a developer's .env cannot set it again.
    os.environ |= dict.fromkeys(("FAILPOINT", "SECRET_KEY_FALLBACKS", "BEHIND_PROXY"), "")
    _stores = Stores(
        _data_dir,
        purpose="tests",
        has_postgres=not os.environ.get("DATABASE_URL"),
        has_valkey=not os.environ.get("CELERY_BROKER_URL"),
        is_durable=False,
    )
    for server, name in zip(_stores.servers, _names(), strict=True):
        os.environ[name] = server.url


def _names() -> list[str]:
    return [name for name in ("DATABASE_URL", "CELERY_BROKER_URL") if not os.environ.get(name)]


def pytest_sessionstart(session) -> None:
    if _stores is None or session.config.option.collectonly:
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _stores.own()
        _stores.start()
    except Refusal as refusal:
        _stores.stop()
        pytest.exit(str(refusal), returncode=1)


def pytest_unconfigure(config) -> None:
    if _stores is not None:
        _stores.stop()
        forget(_data_dir)
