"""What the logs may say."""

import logging
from io import StringIO

import pytest
import structlog
from django.conf import settings

from journey_crm.logs import Discreet


@pytest.fixture
def lines():
    """What the handlers of settings.LOGGING would print."""
    out = StringIO()
    handler = logging.StreamHandler(out)
    formatter = {**settings.LOGGING["formatters"]["line"]}
    assert formatter.pop("()") == "journey_crm.logs.Discreet"
    handler.setFormatter(Discreet(formatter["format"]))
    logger = logging.getLogger("canary")
    logger.addHandler(handler)
    yield out
    logger.removeHandler(handler)


@pytest.mark.parametrize("log", [structlog.get_logger("canary"), logging.getLogger("canary")])
def test_no_address_and_no_local_variable_reaches_the_log(lines, log):
    secret = "jc_" + "canary"
    try:
        raise ValueError(f"Key (email)=(jana.novakova@studio.example), {len(secret)} letters, already exists.")
    except ValueError:
        log.exception("step_failed")
    text = lines.getvalue()
    assert "step_failed" in text and "ValueError" in text and "9 letters" in text
    assert "jana.novakova" not in text
    assert secret not in text
