"""`manage.py erase` where there is no terminal: it erases, and prints the proof."""

import io

import pytest
from django.core.management import CommandError, call_command

from contacts.models import Contact, Erasure

pytestmark = pytest.mark.django_db


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_a_terminal_it_erases_and_prints_the_proof(monkeypatch, capsys):
    ann = Contact.objects.create(email="ann@x.example")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    call_command("erase", str(ann.pk))
    assert Erasure.objects.get().contact_number == ann.pk
    assert f"Contact {ann.pk} was erased at" in capsys.readouterr().out


def test_on_a_terminal_it_asks_first(monkeypatch):
    ann = Contact.objects.create(email="ann@x.example")
    monkeypatch.setattr("sys.stdin", Terminal("no\n"))
    with pytest.raises(CommandError, match=r"Nothing was erased"):
        call_command("erase", str(ann.pk))
    assert not Erasure.objects.exists()
