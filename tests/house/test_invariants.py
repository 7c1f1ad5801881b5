"""`manage.py check_invariants --json`, as a program reads it."""

import json

import pytest
from django.core.management import call_command

from journey_crm.invariants import MEANINGS


@pytest.mark.django_db
def test_it_prints_one_whole_number_for_each_invariant(capsys):
    call_command("check_invariants", "--json")
    assert json.loads(capsys.readouterr().out) == dict.fromkeys(MEANINGS, 0)
