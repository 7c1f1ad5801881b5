"""Czech and Polish: complete, compiled as written, placeholders intact, and no English on the main screens."""

import ast
import gettext
import re
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation
from django.utils.translation.template import templatize

from campaigns import publishing
from campaigns.models import NurtureTrack
from contacts.models import Company, Contact, Segment, Touchpoint
from leads.models import Lead, Team
from messaging import tokens
from messaging.models import Brand, Message, Template, Topic

LANGUAGES = ["cs", "pl"]
CATALOGUES = sorted((settings.ROOT / "locale").rglob("*.po"))
FORMS = 4


# The catalogues ------------------------------------------------------------------------------------------------------


def entries(path: Path) -> list[dict]:
    """The entries of a .po file, the header first: msgid, msgctxt …, with the forms of a plural as msgstr[0] …"""
    found = []
    for block in re.split(r"\n{2,}", path.read_text(encoding="utf-8").strip()):
        entry: dict = {"flags": []}
        field = ""
        for line in block.splitlines():
            if line.startswith("#,"):
                entry["flags"] += [flag.strip() for flag in line[2:].split(",")]
            elif match := re.match(r'(msg\w+(?:\[\d\])?) (".*")$', line):
                field = match[1]
                entry[field] = ast.literal_eval(match[2])
            elif line.startswith('"'):
                entry[field] += ast.literal_eval(line)
        found.append(entry)
    return found


def forms_of(entry: dict) -> list[str]:
    return [value for field, value in entry.items() if field.startswith("msgstr")]


def catalogue(language: str) -> list[dict]:
    return entries(settings.ROOT / "locale" / language / "LC_MESSAGES" / "django.po")[1:]


@pytest.mark.parametrize("path", CATALOGUES, ids=str)
def test_every_entry_is_translated_and_none_is_a_guess(path):
    header, *rest = entries(path)
    assert f"nplurals={FORMS}" in header["msgstr"]
    for entry in rest:
        assert "fuzzy" not in entry["flags"], entry["msgid"]
        assert len(forms_of(entry)) == (FORMS if "msgid_plural" in entry else 1), entry["msgid"]
        assert all(forms_of(entry)), f"“{entry['msgid']}” has no translation"


@pytest.mark.parametrize("path", CATALOGUES, ids=str)
def test_what_is_compiled_is_what_is_written(path):
    written = {}
    for entry in entries(path):
        key = "\x04".join([entry["msgctxt"], entry["msgid"]] if "msgctxt" in entry else [entry["msgid"]])
        if "msgid_plural" in entry:
            written |= {(key, number): form for number, form in enumerate(forms_of(entry))}
        else:
            written[key] = entry["msgstr"]
    with path.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)._catalog
    assert {key: text for key, text in compiled.items() if key} == {key: text for key, text in written.items() if key}


@pytest.mark.parametrize("path", CATALOGUES, ids=str)
def test_every_translation_keeps_the_placeholders(path):
    def holes(text: str) -> list[str]:
        return sorted(re.findall(r"%\(\w+\)[a-z]|%[ds%]|\{\w*\}", text))

    for entry in entries(path)[1:]:
        one, many = holes(entry["msgid"]), holes(entry.get("msgid_plural", entry["msgid"]))
        first, *others = forms_of(entry)
        # “once” holds no number, in any language.
        assert holes(first) in (one, many), entry["msgid"]
        assert all(holes(form) == many for form in others), entry["msgid"]


# What is marked ------------------------------------------------------------------------------------------------------

_CALLS = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy", "pgettext", "pgettext_lazy"}
_IN_TEMPLATES = re.compile(
    r"""\b(_|gettext|ngettext|pgettext)\(((?:\s*u?(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')\s*,?)+)"""
)


def marked_in_python(source: str) -> set[tuple[str, str]]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", "")
        if name in _CALLS and node.args and all(isinstance(arg, ast.Constant) for arg in node.args[:1]):
            texts = [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]
            found.add((texts[0], texts[1]) if name.startswith("pgettext") else ("", texts[0]))
    return found


def marked_in_templates(source: str) -> set[tuple[str, str]]:
    found = set()
    for name, literals in _IN_TEMPLATES.findall(templatize(source)):
        texts = ast.literal_eval(f"({literals.rstrip().rstrip(',')},)")
        found.add((texts[0], texts[1]) if name == "pgettext" else ("", texts[0]))
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_all_that_is_marked_stands_in_the_catalogue(language):
    known = {(entry.get("msgctxt", ""), entry["msgid"]) for entry in catalogue(language)}
    marked = set()
    for app in apps.get_app_configs():
        if not Path(app.path).is_relative_to(settings.ROOT) or ".venv" in app.path:
            continue
        for path in Path(app.path).rglob("*.py"):
            marked |= marked_in_python(path.read_text(encoding="utf-8"))
        for path in Path(app.path).rglob("templates/**/*.html"):
            marked |= marked_in_templates(path.read_text(encoding="utf-8"))
    assert len(marked) > 900
    assert not marked - known, "run `make messages` and translate these"


# The screens ---------------------------------------------------------------------------------------------------------

# Words that neither Czech nor Polish has.
ENGLISH = re.compile(
    r"\b(the|of|and|is|are|this|there|your|from|with|was|not|for|nothing|here|people|person|please|save|search|name|"
    r"state|message|change|delete|by)\b",
    re.IGNORECASE,
)


class Words(HTMLParser):
    """What people read on a page, also with their ears; code is the same in every language."""

    def __init__(self, html: str):
        super().__init__()
        self.found: list[str] = []
        self._silent: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag in ("script", "style", "code", "kbd", "pre", "textarea"):
            self._silent.append(tag)
        foreign = dict(attrs).get("lang") not in (None, *LANGUAGES)
        if tag in ("button", "option") and foreign:
            self._silent.append(tag)
        self.found += [
            value for name, value in attrs if name in ("title", "aria-label", "placeholder", "alt") and value
        ]

    def handle_endtag(self, tag):
        if self._silent and self._silent[-1] == tag:
            self._silent.pop()

    def handle_data(self, data):
        if data.strip() and not self._silent:
            self.found.append(" ".join(data.split()))


@pytest.fixture
def pages(now) -> dict[str, str]:
    """The main screens, with rows whose own words are not English: what is shown → its address."""
    Brand.objects.update_or_create(
        pk=1, defaults={"name": "Lumeo", "sender": "Lumeo <ahoj@lumeo.example>", "postal_address": "Brno"}
    )
    topic = Topic.objects.create(key="novinky", name="Novinky", is_opt_in=False)
    company = Company.objects.create(name="Fyzio")
    jana = Contact.objects.create(email="jana@fyzio.example", first_name="Jana", company=company, stage="qualified")
    segment = Segment.objects.create(key="rucne", name="Ručně")
    team = Team.objects.create(key="brno", name="Brno")
    for kind in ("contact.created", "page.viewed", "email.sent", "lead.qualified"):
        Touchpoint.objects.create(
            contact=jana, kind=kind, channel="web", source="web", occurred_at=now, received_at=now
        )
    lead = Lead.objects.create(
        contact=jana, team=team, created_at=now, due_at=now + timedelta(hours=4), headline="Cenik", score=60
    )
    template = Template.objects.create(
        key="dopis", name="Dopis", topic=topic, language="cs", subject="Dopis", preheader="Slova", body="Text"
    )
    message = Message.objects.create(
        key="a", contact=jana, template=template, message_class="marketing", created_at=now, due_at=now,
        address=jana.email, state="skipped", reason="topic_refused", finished_at=now,
    )  # fmt: skip
    track = NurtureTrack.objects.create(kind="nurture", key="program", name="Program")
    publishing.save_draft(
        journey=track,
        definition={
            "key": "program", "name": "Program", "kind": "nurture", "trigger": "manual",
            "streams": [{"key": "start", "cadence": {"rrule": "FREQ=WEEKLY;BYDAY=TU", "local_time": "10:00"},
                         "items": [{"key": "jedna", "send": "dopis"}, {"key": "chybi", "send": "neni"}]}],
        },
        by=None,
        now=now,
    )  # fmt: skip
    token = tokens.current().token(tokens.PERSON, message.pk, jana.pk)
    return {
        "home": "/admin/",
        "contacts": "/admin/contacts/contact/",
        "contact": f"/admin/contacts/contact/{jana.pk}/change/",
        "segment": f"/admin/contacts/segment/{segment.pk}/change/",
        "import": "/admin/contacts/import/add/",
        "token": "/admin/contacts/apitoken/add/",
        "scores": "/admin/scoring/scoremodel/",
        "score": "/admin/scoring/scoremodel/add/",
        "templates": "/admin/messaging/template/",
        "sent mail": "/admin/messaging/message/",
        "message": f"/admin/messaging/message/{message.pk}/change/",
        "nurture tracks": "/admin/campaigns/nurturetrack/",
        "nurture track": f"/admin/campaigns/nurturetrack/{track.pk}/change/",
        "step": f"/admin/campaigns/nurturetrack/{track.pk}/change/?step=start",
        "team": f"/admin/leads/team/{team.pk}/change/",
        "orders": "/admin/growth/order/",
        "insights": "/admin/insights/",
        "sales": "/sales/",
        "lead": f"/sales/{lead.pk}/",
        "preferences": f"/p/{token}/",
        "unsubscribe": f"/u/{token}/",
        "nowhere": "/admin/nowhere/",
    }


@pytest.mark.django_db
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_main_screens_hold_no_english(language, pages):
    client = Client(headers={"Accept-Language": language})
    client.force_login(User.objects.create_superuser("lenka"))
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = language
    translated = {form.lower() for entry in catalogue(language) for form in forms_of(entry)}
    english = {entry["msgid"].lower() for entry in catalogue(language)} - translated
    left: dict[str, list[str]] = {}
    for name, address in pages.items():
        answer = client.get(address)
        assert answer.status_code in (200, 404), address
        assert f'lang="{language}"' in answer.content.decode(), address
        words = Words(answer.content.decode()).found
        assert len(words) > 3, address
        if wrong := [
            text
            for text in words
            if text.rstrip(":").lower() in english or ENGLISH.search(text.replace("Message-ID", ""))
        ]:
            left[name] = wrong
    assert left == {}


@pytest.mark.parametrize(
    ("language", "number", "words"),
    [
        ("cs", 1, "1 člověk"), ("cs", 3, "3 lidé"), ("cs", 5, "5 lidí"), ("cs", 22, "22 lidí"),
        ("pl", 1, "1 osoba"), ("pl", 3, "3 osoby"), ("pl", 5, "5 osób"), ("pl", 22, "22 osoby"), ("pl", 12, "12 osób"),
    ],
)  # fmt: skip
def test_it_counts_as_people_do(language, number, words):
    with translation.override(language):
        told = translation.ngettext("%(count)s person", "%(count)s people", number) % {"count": number}
    assert told.replace("\N{NO-BREAK SPACE}", " ") == words


@pytest.mark.parametrize(("language", "month"), [("cs", "květen"), ("pl", "maj")])
def test_our_words_do_not_hide_those_of_django(language, month):
    """Our catalogue goes first: “May” as a permission would have renamed the month."""
    with translation.override(language):
        assert str(translation.gettext("May")).lower() == month
