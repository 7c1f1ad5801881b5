"""The documentation is true to the letter: its examples are applied, its links lead somewhere."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from django.contrib.auth import get_user_model
from django.core.management import get_commands
from django.urls import Resolver404, resolve
from django.utils import timezone

from campaigns import graph
from campaigns.steps import VERBS
from campaigns.triggers import TRIGGERS
from contacts import rules, tokens
from contacts.models import Contact, Incoming, Webhook
from journey_crm import as_code
from journey_crm.settings import ROOT
from journey_crm.tick import tick
from leads.models import Lead

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FILE = re.compile(r"`((?:[a-z_]+/)+[a-z_]+\.[a-z]+|[a-z]+/[a-z_]+/)`")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(mark: str) -> Iterator[tuple[str, str]]:
    """Every fenced block of this mark, with the page and line where it stands."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in _FENCE.finditer(text):
            if found[1].strip() == mark:
                yield f"{name(page)}, line {text.count(chr(10), 0, found.start()) + 1}", found[2]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in found}


# Examples ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def company(db, now) -> list[dict[str, Any]]:
    """All complete examples applied and published one after the other; answers them."""
    for username in ("petr", "ania"):
        get_user_model().objects.create_user(username)
    documents = [as_code.read(source, where) for where, source in blocks("yaml complete")]
    assert documents
    for document in documents:
        planned = as_code.apply([document], is_plan=True, now=now)
        assert all(change.what == "created" for change in planned), planned
        as_code.apply([document], is_publish=True, now=now)
    return documents


def test_every_complete_example_applies_and_goes_live(company, now):
    whole = as_code.read(as_code.write(as_code.export()))
    assert {change.what for change in as_code.apply([whole], is_publish=True, now=now)} == {"unchanged"}


def test_the_complete_examples_show_every_section_step_and_setting(company):
    sections = {section for document in company for section in document}
    assert sections == set(as_code.BY_NAME)
    journeys = [journey for document in company for journey in document.get("journeys", [])]
    steps = [step for journey in journeys for _path, step in graph.steps_of(journey)]
    assert {verb for step in steps for verb in VERBS if verb in step} == set(VERBS)
    assert {key for journey in journeys for key in journey} == set(graph.TOP)


def test_every_trigger_of_the_documentation_is_one(company):
    [(_where, source)] = blocks("yaml trigger")
    triggers = as_code.read(f"journeys:\n{source}")["journeys"]
    problems = graph.check({"key": "a", "kind": "nurture", "trigger": triggers, "streams": [_STREAM]})
    assert problems == []
    shown = {kind for one in triggers if isinstance(one, dict) for kind in one} | {"manual"}
    assert set(TRIGGERS) <= shown


_STREAM = {"key": "a", "cadence": {"rrule": "FREQ=DAILY", "at": "10:00"}, "items": [{"send": "a"}]}


def test_every_rule_of_the_documentation_is_one(company):
    for where, source in blocks("yaml rule"):
        rule = as_code.read(f"segments: [{{key: a}}]\nfields:\n  - rule:\n{indent(source, 6)}", where)
        assert rules.parse(rule["fields"][0]["rule"])


def indent(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}" for line in text.splitlines(keepends=True))


def test_every_yaml_example_says_what_it_is():
    # The manual of journeys is made of the tests that ask each of its examples.
    pages = [page for page in PAGES if page.name != "journeys.md"]
    marks = {found[1].strip() for page in pages for found in _FENCE.finditer(page.read_text(encoding="utf-8"))}
    assert {mark for mark in marks if mark.startswith("yaml")} <= {"yaml complete", "yaml trigger", "yaml rule"}


# REST ----------------------------------------------------------------------------------------------------------------

_MOVING = {"id", "contact", "last", "head"}


def curl(command: str, values: dict[str, str]) -> requests.Response:
    """Sends what a curl command of the documentation would send."""
    for key, value in values.items():
        command = command.replace(f"${key}", value)
    lines, pipe, command = command.replace("\\\n", " ").rpartition("| curl")
    piped = "".join(f"{line}\n" for line in shlex.split(lines)[2:])  # printf '%s\\n' LINE… | curl
    words = iter(shlex.split(command)[0 if pipe else 1 :])
    method, url, headers, body, auth = None, "", {}, None, None
    for word in words:
        match word:
            case "-X":
                method = next(words)
            case "-H":
                name, _colon, value = next(words).partition(": ")
                headers[name] = value
            case "-d" | "--data-binary":
                body = next(words)
                body = piped if body == "@-" else body
            case "-u":
                auth = tuple(next(words).split(":"))
            case _:
                assert word.startswith("http"), word
                url = word
    method = method or ("GET" if body is None else "POST")
    return requests.request(method, url, headers=headers, data=body, auth=auth, timeout=30)


def differences(shown: Any, real: Any, path: str = "") -> list[str]:
    """Where an answer is not what the documentation shows of it; numbers that any run changes may differ."""
    if isinstance(shown, dict) and isinstance(real, dict):
        missing = [f"{path}.{key} is not there" for key in shown if key not in real]
        return missing + [
            one
            for key in shown.keys() & real.keys()
            if key not in _MOVING or type(shown[key]) is not type(real[key])
            for one in differences(shown[key], real[key], f"{path}.{key}")
        ]
    if isinstance(shown, list) and isinstance(real, list):
        if len(shown) > len(real):
            return [f"{path} has only {len(real)} elements"]
        return [
            one for n, (a, b) in enumerate(zip(shown, real, strict=False)) for one in differences(a, b, f"{path}[{n}]")
        ]
    return [] if shown == real else [f"{path}: {shown!r} is shown, {real!r} is answered"]


@pytest.fixture
def rest(transactional_db, live_server) -> dict[str, str]:
    """What the examples of docs/rest.md find: a company, a lead, and tokens."""
    now = timezone.now()
    lenka = get_user_model().objects.create_superuser("lenka")
    for username in ("petr", "ania"):
        get_user_model().objects.create_user(username)
    as_code.apply([as_code.read(source) for _where, source in blocks("yaml complete")], is_publish=True, now=now)
    lead = Lead.objects.create(contact=Contact.objects.create(created_at=now), state="open", created_at=now)
    _, token = tokens.issue(user=lenka, scopes=["admin"], now=now)
    _, write_key = tokens.issue(user=lenka, scopes=["track"], now=now)
    return {"CRM": live_server.url, "TOKEN": token, "WRITE_KEY": write_key, "LEAD": str(lead.pk)}


def test_every_call_of_the_rest_documentation_answers_what_is_shown(rest):
    text = (ROOT / "docs" / "rest.md").read_text(encoding="utf-8")
    calls = re.findall(r"^```sh\n(.*?)^```\n(?:```json\n(.*?)^```)?", text, re.MULTILINE | re.DOTALL)
    assert len(calls) >= 10
    wrong = []
    for command, shown in calls:
        if "CONTACT=" in command:
            rest["CONTACT"] = str(Contact.objects.get(email="ann.lee@studio.example").pk)
        if "WEBHOOK=" in command:
            rest["WEBHOOK"] = str(Webhook.objects.get(name="Shop").pk)
        command = command[command.index("curl ") :] if not command.startswith("printf") else command
        answer = curl(command, rest)
        if not answer.ok:
            wrong.append(f"{command}: {answer.status_code} {answer.text}")
        elif shown:
            wrong += [f"{command}: {one}" for one in differences(json.loads(shown), answer.json())]
        tick(timezone.now())
    assert wrong == []
    # The identify of the tracking example found the contact of the first call.
    assert Contact.objects.get(email="ann.lee@studio.example").stage != "visitor"


def test_the_python_example_of_the_stock_sdk_works(rest):
    text = (ROOT / "docs" / "rest.md").read_text(encoding="utf-8")
    [source] = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    source = source.replace("jc_…", rest["WRITE_KEY"]).replace("http://localhost:8000", rest["CRM"])
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, env=dict(os.environ), timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert set(Incoming.objects.values_list("kind", flat=True)) == {"contact.identified", "product.viewed"}


# Links and names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("doc", PAGES, ids=name)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(doc):
    broken = []
    for target in _LINK.findall(prose(doc)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _sharp, anchor = target.partition("#")
        file = (doc.parent / path).resolve() if path else doc
        if not file.exists() or (anchor and anchor not in headings(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("doc", PAGES, ids=name)
def test_every_file_that_is_named_exists(doc):
    assert [one for one in _FILE.findall(prose(doc)) if not (ROOT / one).exists()] == []


@pytest.mark.parametrize("doc", PAGES, ids=name)
def test_every_command_that_is_named_exists(doc):
    text = doc.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE)) <= targets
    assert set(re.findall(r"manage\.py ([a-z_]+)", text)) <= set(get_commands())


@pytest.mark.parametrize("doc", PAGES, ids=name)
def test_every_address_that_is_named_is_answered(doc):
    text = doc.read_text(encoding="utf-8")
    unknown = []
    for path in set(re.findall(r"http://localhost:8000(/[\w/.-]*)", text)):
        try:
            resolve(path)
        except Resolver404:
            unknown.append(path)
    assert unknown == []


# Pictures ------------------------------------------------------------------------------------------------------------


def test_pictures_are_small_and_shown_somewhere():
    shown = {
        (page.parent / target).resolve() for page in PAGES for target in _LINK.findall(page.read_text(encoding="utf-8"))
    }
    for picture in (ROOT / "docs" / "pictures").iterdir():
        assert picture.resolve() in shown, picture.name
        assert picture.stat().st_size <= 120_000, picture.name
