"""Real workers in processes of their own: many at once, and killed where it hurts most."""

import os
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection

from messaging.delivery import deliver, sweep
from messaging.models import Message

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.django_db(transaction=True)


def start_worker(now, email_url: str, failpoint: str = "") -> subprocess.Popen:
    settings = connection.settings_dict
    host, port = settings["HOST"], settings["PORT"]
    query = f"?host={host}" if host.startswith("/") else ""
    address = f"{settings['USER']}:{settings['PASSWORD']}@{'' if query else host}{f':{port}' if port else ''}"
    environment = os.environ | {
        "DATABASE_URL": f"postgres://{address}/{settings['NAME']}{query}",
        "EMAIL_URL": email_url,
        "FAILPOINT": failpoint,
        "ALLOW_FAILPOINTS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "manage.py", "deliver", "--now", now.isoformat()],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(worker: subprocess.Popen) -> tuple[int, str]:
    output, _ = worker.communicate(timeout=120)
    return worker.returncode, output.decode()


def doubles(sink) -> int:
    return sum(count - 1 for count in Counter(mail.recipients for mail in sink.mails).values())


def test_four_workers_send_two_thousand_mails_once_each(smtp_sink, make_ready, now):
    make_ready(2000)
    workers = [start_worker(now, smtp_sink.url) for _ in range(4)]
    outputs = [finish(worker) for worker in workers]
    assert [code for code, _ in outputs] == [0] * 4, outputs
    assert len(smtp_sink.mails) == 2000
    assert doubles(smtp_sink) == 0
    assert Counter(Message.objects.values_list("state", flat=True)) == {"sent": 2000}


def test_transactional_mail_of_a_killed_worker_goes_again_under_the_same_message_id(
    smtp_sink, make_ready, make_template, now
):
    make_ready(20, make_template(message_class="transactional", topic=None))
    finish(start_worker(now, smtp_sink.url, "before_commit:kill"))
    later = now + timedelta(minutes=6)
    sweep(later)
    deliver(now=later)
    assert Counter(Message.objects.values_list("state", flat=True)) == {"sent": 20}
    ids = Counter((mail.recipients, mail["Message-ID"]) for mail in smtp_sink.mails)
    assert set(ids.values()) == {2}


def test_the_command_explains_a_wrong_setting(make_ready, now):
    make_ready(1)
    code, output = finish(start_worker(now, "carrier-pigeon://x"))
    assert code == 1
    assert "EMAIL_URL" in output
    assert "Traceback" not in output
    assert Message.objects.get().state == "ready"
