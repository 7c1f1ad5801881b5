"""R-11: whatever anonymous people send through our doors is text on every page that shows it, and never alive."""

import json
from html.parser import HTMLParser

import pytest
from django.contrib.admin import site
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from contacts.models import Contact, Incoming, Touchpoint
from journey_crm.tick import tick
from leads.models import Lead

pytestmark = pytest.mark.django_db

PAYLOADS = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</title></textarea></script><script>alert(1)</script>",
    "<iframe src=javascript:alert(1)>",
    "<a href=javascript:alert(1)>click</a>",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)//https://",
    "data:text/html,<script>alert(1)</script>",
    "{{ 7|add:7 }}{% load static %}",
    "${alert(1)}`",
    "\u202e<script>alert(1)</script>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
]


class Alive(HTMLParser):
    """What in a page would run, load or lead somewhere because somebody sent it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._script = False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        if tag in {"iframe", "object", "embed", "base", "math"} or "evil.example" in str(named.get("src")):
            self.found.append(self.get_starttag_text())
        if tag == "script" and not str(named.get("src", "")).startswith(("/static/", "/admin/jsi18n/")):
            self.found.append(self.get_starttag_text())
        for name, value in attributes:
            text = "".join(str(value).split()).lower()
            if name.startswith("on") or (name in {"href", "src", "action", "formaction"} and _is_alive(text)):
                self.found.append(self.get_starttag_text())


def _is_alive(address: str) -> bool:
    return address.startswith(("javascript:", "data:text", "vbscript:"))


@pytest.fixture
def sent(client, write_key, admin, bearer):
    """Every payload through tracking, as a name, as a property, as the page, as the browser; and through sync."""
    for number, evil in enumerate(PAYLOADS):
        about = {
            "userAgent": evil, "ip": evil, "locale": evil, "library": {"name": evil},
            "page": {"url": evil, "title": evil, "referrer": evil, "path": evil, "search": evil},
            "campaign": {"source": evil, "name": evil, evil: evil},
        }  # fmt: skip
        person = {"userId": f"u-{number}", "anonymousId": f"a-{number}", "context": about}
        traits = dict.fromkeys(["firstName", "lastName", "title", "phone", "plan", "avatar", "website", evil], evil)
        batch = [
            {"type": "page", "name": evil, "properties": {"url": evil, evil: evil}},
            {"type": "track", "event": evil, "properties": {evil: [evil, {evil: 1}]}},
            {"type": "track", "event": "Product Viewed", "properties": {"url": evil}},
            {"type": "identify", "traits": {**traits, "company": {"name": evil}}},
        ]
        batch = [{**call, **person, "messageId": f"{number}-{place}"} for place, call in enumerate(batch)]
        answer = client.post(
            "/v1/batch",
            json.dumps({"writeKey": write_key, "batch": batch}),
            content_type="application/json",
            headers={
                "User-Agent": evil.encode("ascii", "ignore").decode(),
                "Referer": "https://shop.example/?q=<b>",
            },
        )
        assert answer.status_code == 200, answer.content
    rows = [{"user_id": f"s-{n}", "first_name": evil, "attributes": {"plan": evil}} for n, evil in enumerate(PAYLOADS)]
    headers = bearer(admin, "admin")
    assert (
        client.post("/api/v1/contacts/bulk/", rows, content_type="application/json", headers=headers).status_code == 200
    )
    now = timezone.now()
    tick(now)
    assert list(Incoming.objects.values_list("error", flat=True)) == []
    seen = Touchpoint.objects.filter(kind="page.viewed").values_list("properties__url", flat=True)
    assert set(PAYLOADS) - set(seen) == set()
    for contact in Contact.objects.living().order_by("pk")[:40]:
        Lead.objects.create(contact=contact, state="open", created_at=now, headline=contact.first_name)


def pages(admin_user):
    """Each list of the admin with each row's page of what is in the database, home, sales and its people."""
    yield "/admin/"
    yield "/sales/"
    for lead in Lead.objects.all():
        yield f"/sales/{lead.pk}/"
    for model in site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        try:
            yield reverse(f"{name}_changelist")
        except NoReverseMatch:
            continue
        for row in model._default_manager.order_by("pk")[:60]:
            yield reverse(f"{name}_change", args=[row.pk])


def test_no_page_shows_anything_alive_of_what_was_sent(sent, client, admin):
    client.force_login(admin)
    asked, wrong = 0, []
    for address in pages(admin):
        answer = client.get(address, follow=True)
        if answer.status_code != 200 or not answer["Content-Type"].startswith("text/html"):
            continue
        asked += 1
        if found := Alive(answer.content.decode()).found:
            wrong.append((address, found[:3]))
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe-inline" not in policy and "unsafe-eval" not in policy, address
    assert asked > 100
    assert wrong == []


def test_the_parser_of_this_test_would_see_it():
    assert all(Alive(f"<p>{evil}</p>").found for evil in PAYLOADS[:7])
    assert Alive('<a href=" java\nscript:alert(1)">').found
    assert not Alive('<script src="/static/journey/shell.js"></script><p>&lt;script&gt;</p>').found
