"""Every benchmark runs and counts right. How fast is never asked here."""

from importlib import import_module
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from journey_crm import benches
from journey_crm.benches.sink import send_bare, sink
from journey_crm.management.commands.bench import _as_json
from messaging.channels import Outgoing


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", benches.NAMES)
def test_a_bench_gives_ours_the_limit_and_the_goal(name):
    said = []
    result = import_module(f"journey_crm.benches.{name}").run(200, said.append)

    assert (result.name, result.rows) == (name, 200)
    assert result.ours > 0 and result.limit > 0 and 0 < result.goal < 1
    assert result.ratio == result.ours / result.limit
    assert said and result.limit_is
    assert _as_json(result).startswith(f'{{"name": "{name}"')


def test_an_unknown_bench_is_refused_by_name():
    with pytest.raises(CommandError, match="There is no bench nonsense; there are ingest, tick_ingest, upsert, "):
        call_command("bench", "nonsense", stdout=StringIO())


@pytest.mark.parametrize("program", ["smtp-sink", "our own"])
def test_the_bare_client_hands_over_every_mail_to_either_sink(program, monkeypatch):
    if program == "our own":
        monkeypatch.setattr("journey_crm.benches.sink._program", lambda name: None)
    mails = [Outgoing(n, "a@example.com", f"b{n}@example.com", b"Subject: x\r\n\r\n.\r\nEnd\r\n") for n in range(50)]

    with sink() as (port, _name):
        send_bare(port, mails, 4)
        send_bare(port, mails[:2], 4)
