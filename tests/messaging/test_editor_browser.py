"""The editor of mails in a real browser."""

import json
import os

import pytest
from django.contrib.auth.models import User

from tests.browser import log_in

pytestmark = pytest.mark.django_db(transaction=True)


def test_smoke(page, brand, make_template, make_contact):
    page.set_default_timeout(12000)
    boss = User.objects.create_superuser("boss", email="boss@acme.example")
    brand.website = "https://acme.example"
    brand.colours = {"primary": "#0b6e4f"}
    brand.save()
    B = [
        {"kind": "heading", "text": 'Hi {{ contact.first_name | default: "friend" }}'},
        {
            "kind": "text",
            "text": "A *b* [l](https://acme.example/?a=1&b=2#x)\n\n- one\n- two",
            "show_if": 'contact.country == "CZ"',
        },
        {"kind": "picture", "url": "https://x.example/a.png", "alt": ""},
        {"kind": "button", "text": "Try it", "link": "https://acme.example/go"},
        {"kind": "columns", "columns": [[{"kind": "text", "text": "one"}], [{"kind": "text", "text": "two"}]]},
        {"kind": "product", "name": "Pro", "price": "10 €", "link": "https://acme.example/p"},
        {"kind": "social", "links": [{"name": "LinkedIn", "url": "https://l.example/"}]},
        {"kind": "divider"},
        {"kind": "spacer"},
    ]
    t = make_template(
        body_format="blocks", body=json.dumps(B), name="Welcome", translations={"cs": {"subject": "Ahoj"}}
    )
    make_contact(first_name="Eva", last_name="Nová", country="CZ")
    log_in(page, boss)
    page.on("console", lambda m: print("CON", m.text))
    page.on("response", lambda r: print(r.status, r.url) if r.status >= 400 or "draw" in r.url else None)
    os.makedirs("/tmp/shots/editor", exist_ok=True)
    for scheme in ("light", "dark"):
        for w, h in ((1440, 900), (390, 844)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": w, "height": h})
            page.goto(f"/admin/messaging/template/{t.pk}/change/")
            try:
                page.locator("mail-editor[data-drawn]").wait_for()
            except Exception:
                page.screenshot(path="/tmp/shots/editor/fail.png")
                print("HTML", page.evaluate("document.querySelector('mail-editor')?.outerHTML.slice(0,1500)"))
                print(page.evaluate("document.title"))
                raise
            if scheme == "dark":
                page.check("#mail-dark")
            page.locator(".mail-frame iframe:not(.is-coming)").wait_for()
            page.wait_for_timeout(400)
            page.screenshot(path=f"/tmp/shots/editor/edit-{w}-{scheme}.png", full_page=True)
    page.set_viewport_size({"width": 1440, "height": 900})
    page.locator("#b-4").click()
    page.screenshot(path="/tmp/shots/editor/edit-columns.png", full_page=True)
