"""The sandbox: whatever is written into a template, or into a value, nothing leaks, nothing happens, and it ends.

Every payload goes all three ways: through the interpreter alone, into a mail (the straight way with the interpreter
behind it), and from the outbox to a mail server.
"""

import email
import email.policy
import signal
from copy import deepcopy

import pytest
from django.conf import settings as site

from contacts.models import Contact
from messaging import liquid
from messaging.delivery import deliver
from messaging.liquid import RenderError
from messaging.markup import MarkupError
from messaging.models import Message, Template
from messaging.skeleton import Addressee, Skeleton

SECRET = "s3cr3t-canary"
KB_512 = 512 * 1024
VALUES = {
    "contact": {
        "first_name": "<script>alert(1)</script>",
        "list": ["a", "b"],
        "liquid": "{{ contact.number }}{% for i in (1..9) %}x{% endfor %}",
        "url": "javascript:alert(1)",
        "long": "x" * 100_000,
        "wide": "😀" * 30_000,
        "number": 10**17,
    },
    "moment": "2026-11-10T10:00:00+01:00",
}
DOUBLED = "{% assign x = 'xxxxxxxxxxxxxxxx' %}" + "{% assign x = x | append: x %}" * 14
LIST = "{% assign l = (1..9999) | reverse %}"

REFUSED = {
    # Beyond the values
    "attribute": "{{ contact.__class__ }}",
    "attribute in brackets": "{{ contact['__class__']['__init__'] }}",
    "attribute walk": "{{ contact.first_name.__class__.__mro__[1].__subclasses__ }}",
    "globals of a method": "{{ contact.list.append.__globals__ }}",
    "method of a text": "{{ contact.first_name.format }}",
    "method of a dict": "{{ contact.pop }}{{ contact.clear }}",
    "method of a list": "{{ contact.list.pop }}",
    "method by a value": "{% assign name = '__class__' %}{{ contact[name] }}",
    "loop's own class": "{% for i in (1..3) %}{{ forloop.__class__ }}{% endfor %}",
    "table's own class": "{% tablerow i in (1..3) %}{{ tablerowloop.__class__ }}{% endtablerow %}",
    "settings": "{{ settings.SECRET_KEY }}",
    "request": "{{ request.META }}",
    "self": "{{ self }}{{ this }}{{ globals }}{{ environment }}",
    # Other texts
    "include": "{% include '/etc/passwd' %}",
    "render": "{% render 'settings.py' %}",
    "layout": "{% layout 'x' %}",
    "extends": "{% extends 'x' %}{% block y %}{% endblock %}",
    "include in a liquid tag": "{% liquid\n include 'x'\n%}",
    "macro that calls itself": "{% macro x %}{% call x %}{% endmacro %}{% call x %}",
    "Django's tags": "{% load static %}{% debug %}{% csrf_token %}",
    # Filters that there are not
    "safe": "{{ contact.first_name | safe }}",
    "json": "{{ contact | json }}",
    "base64": "{{ 'cHl0aG9u' | base64_decode }}",
    "attr": "{{ contact.first_name | attr: '__class__' }}",
    "regular expression": "{{ contact.long | regex_replace: '(x+x+)+y', '' }}",
    "filter's own argument": "{{ 'x' | append: 'y', context: contact }}",
    # Without end
    "a long loop": "{% for i in (1..1000000000) %}x{% endfor %}",
    "three loops in one another": "{% for a in (1..99) %}" * 3 + "x" + "{% endfor %}" * 3,
    "nineteen loops in one another": "{% for a in (1..9) %}" * 19 + "x" + "{% endfor %}" * 19,
    "a loop that writes much": "{% for i in (1..9999) %}" + "x" * 700 + "{% endfor %}",
    "a loop that only looks": "{% for i in (1..9999) %}" + "{% if 'a' == 'b' %}x{% endif %}" * 1000 + "{% endfor %}",
    "a loop that only compares": "{% for i in (1..9999) %}{% if contact.long contains 'y' %}x{% endif %}"
    "{% if contact.long == contact.long %}{% endif %}{% endfor %}",
    "a loop that only computes": DOUBLED + "{% for i in (1..9999) %}{% assign y = x | upcase | size %}{% endfor %}",
    "a loop that only sorts": LIST + "{% for i in (1..9999) %}{% assign m = l | sort %}{% endfor %}",
    "a loop that only captures": "{% for i in (1..9999) %}{% capture x %}"
    + "y" * 999
    + "{% endcapture %}{{ x }}{% endfor %}",
    "a search without a loop": LIST + "{% if l contains 'z' %}x{% endif %}" * 2000,
    "a search in a long range": "{% assign r = (1..99999999999) %}{% if r contains 'z' %}x{% endif %}",
    "a table of a million": "{% tablerow i in (1..1000000) %}x{% endtablerow %}",
    "a long cycle": "{% for i in (1..9999) %}{% cycle " + ",".join(["'a'"] * 5000) + " %}{% endfor %}",
    # Too big
    "doubling": DOUBLED + "{% assign x = x | append: x %}" * 9,
    "doubling by capture": "{% capture a %}x{% endcapture %}" + "{% capture a %}{{ a }}{{ a }}{% endcapture %}" * 30,
    "doubling a list": "{% assign a = contact.list %}" + "{% assign a = a | concat: a %}" * 30,
    "replacing by itself": DOUBLED + "{{ x | replace: 'x', x }}",
    "replacing nothing": DOUBLED + "{{ x | replace: '', x }}",
    "joining by a long text": LIST + "{{ l | join: contact.long }}",
    "joining a long range": "{{ (1..1000000000) | join: 'x' }}",
    "splitting into letters": "{{ contact.long | split: '' | join: 'yyyyyyyyyyyyyyyy' }}",
    "escaping the escaped": DOUBLED + "{{ x | replace: 'x', '<' | escape | escape | escape | escape }}",
    "a list of long texts": "{% assign l = (1..999) | reverse %}{% for i in l %}{{ contact.long }}{% endfor %}",
    "wide characters": "{{ contact.wide }}" * 5,
    "a big number": "{{ contact.number | times: contact.number | times: contact.number }}",
    "a number of many digits": "{{ '" + "9" * 5000 + "' | plus: 1 }}",
    "an enormous exponent": "{{ '1e999999999' | plus: 1 }}",
    "an enormous length": "{{ 'abc' | slice: -9999999999999999999, 99999999999999999999 }}",
    "an enormous precision": "{{ 1.5 | round: 99999999999999999999 }}",
    "a division by nothing": "{{ 1 | divided_by: 0 }}",
    # Too deep
    "brackets": "{% if " + "(" * 500 + "true" + ")" * 500 + " %}x{% endif %}",
    "conditions": "{% if x %}" * 200 + "{% endif %}" * 200,
    "a long condition": "{% if " + " and ".join(["true"] * 5000) + " %}x{% endif %}",
    "values in brackets": "{{ contact" + "[contact" * 500 + "]" * 500 + " }}",
    # Broken, or without a value
    "a break without a loop": "{% break %}",
    "half a tag": "{{ contact.first_name",
    "a lone surrogate": "{{ '\ud800' }}",
    "a missing value": "{{ contact.gone | upcase }}",
}

HARMLESS = {
    "a filter that asks for an attribute": "{{ contact.list | map: '__class__' }}{{ contact.list | where: '__doc__' }}",
    "a date of enormous width": "[{{ 'now' | date: '%999999999Y' }}]",
    "a date with a long form": DOUBLED + "{{ 'now' | date: x | size }}",
    "a negative slice": "{{ 'abc' | slice: -2, -1 }}{{ contact.list | slice: -100, 1000 }}",
    "many filters": "{{ contact.first_name" + " | upcase" * 5000 + " }}",
    "combining characters": "a" + "\u0301" * 3000 + "{{ 'x\u202e' }}",
    "names of ours": "{% assign links = 'x' %}{% assign brand = 'x' %}{% assign contact = 'x' %}{{ contact }}",
    "Liquid in a value": "{{ contact.liquid }}{% assign y = contact.liquid %}{{ y }}",
    "Liquid made of texts": "{{ '{{ contact.number' }} }}{{ '{' | append: '{ contact.number }' | append: '}' }}",
    "HTML in a value": "{{ contact.first_name }}{{ contact.first_name | append: '<i>' | upcase }}",
    "HTML in a text": "{{ '<script>' }}{% assign h = '<script>' %}{{ h }}{% cycle '<script>' %}{{ h | newline_to_br }}",
    "HTML in an attribute": '<p title="{{ contact.first_name }}">x</p>',
    "a cut in half": "{{ contact.first_name | escape | slice: 0, 5 }}{{ contact.first_name | truncate: 5 }}",
    "everything at once": "{{ contact.list }}{{ contact.first }}{{ forloop.x | default: '-' }}",
}


class Endless(BaseException):
    """The sandbox did not end in time; no exception that it could take for one of its own."""


@pytest.fixture(autouse=True)
def watched(monkeypatch):
    """Two seconds of this process's time for each payload; the sandbox itself has less patience, for they are many."""

    def bark(*_args):
        raise Endless

    monkeypatch.setattr(liquid, "MOST_SECONDS", 0.08)
    monkeypatch.setattr(site, "SECRET_KEY", SECRET)
    before = signal.signal(signal.SIGPROF, bark)
    yield lambda: signal.setitimer(signal.ITIMER_PROF, 2.0)
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


def content(body, body_format="html", subject="Hello"):
    return {
        "language": "en", "body_format": body_format, "message_class": "marketing", "topic": "newsletter",
        "variants": {"en": {"subject": subject, "preheader": "", "body": body}},
        "brand": {"name": "Acme", "sender": "Acme <a@acme.example>", "postal_address": "1 Main St"},
    }  # fmt: skip


def mail(told, values=VALUES):
    """The mail that comes of it: subject, HTML and text."""
    compiled = Skeleton(told, "en")
    to = Addressee(
        1, "e@x.example", "m1@x", "Tue, 10 Nov 2026 10:00:00 +0000",
        {"open": "http://h/o", "hidden": "http://h/t/c/0", "unsubscribe": "http://h/u/", "preferences": "http://h/p/"},
        {f"l{n}": f"http://h/t/{n}" for n in range(9)},
    )  # fmt: skip
    filled = compiled.values({"contact": values["contact"]}, to, values["moment"])
    personal = dict.fromkeys(compiled.personal_links(filled), "http://h/t/personal")
    _subject, raw = compiled.mail(filled, to, personal)
    made = email.message_from_bytes(raw, policy=email.policy.default)
    return made["Subject"], made.get_body(("html",)).get_content(), made.get_body(("plain",)).get_content()


def is_a_sentence(text: str) -> bool:
    return text[:1].isupper() and text.endswith(".") and "<" not in text and "Traceback" not in text


def betrays(text: str) -> list[str]:
    marks = (SECRET, str(site.DATABASES["default"]["PASSWORD"] or SECRET), "<class", "&lt;class", " at 0x", "root:x:")
    return [mark for mark in marks if mark in text]


def test_there_are_more_payloads_than_anybody_asked_for():
    assert len(REFUSED) + len(HARMLESS) > 60


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_a_sentence(name, watched):
    before = deepcopy(VALUES)
    for way in (
        lambda source: liquid.render(source, VALUES, is_html=True),
        lambda source: liquid.render(source, VALUES, is_html=False),
        lambda source: mail(content(source)),
    ):
        watched()
        with pytest.raises(RenderError) as refused:
            way(REFUSED[name])
        assert is_a_sentence(str(refused.value)), str(refused.value)
        assert betrays(str(refused.value)) == []
    assert before == VALUES


@pytest.mark.parametrize("name", HARMLESS)
def test_it_comes_to_nothing(name, watched):
    before = deepcopy(VALUES)
    watched()
    html, text = (liquid.render(HARMLESS[name], VALUES, is_html=is_html) for is_html in (True, False))
    subject, *bodies = mail(content(HARMLESS[name], subject=HARMLESS[name] if "<" not in HARMLESS[name] else "Hello"))
    for made in (html, text, subject, *bodies):
        assert len(made.encode()) <= KB_512
        assert betrays(made) == []
        assert "100000000000000000" not in made or name == "everything at once", "a value is text, not a template"
    for made in (html, bodies[0]):
        assert "<script" not in made.lower()
    assert before == VALUES


@pytest.mark.parametrize("body_format", ["markdown", "html", "mjml"])
def test_a_link_made_of_a_value_leads_nowhere_dangerous(body_format, watched):
    body = {
        "markdown": "[look]({{ contact.url }})",
        "html": '<a href="{{ contact.url }}">look</a>',
        "mjml": '<mjml><mj-body><mj-section><mj-column><mj-text><a href="{{ contact.url }}">look</a></mj-text>'
        "</mj-column></mj-section></mj-body></mjml>",
    }[body_format]
    for url in ("javascript:alert(1)", "JaVaScRiPt:alert(1)", " java\tscript:x", "data:text/html,x", "vbscript:x"):
        watched()
        with pytest.raises(MarkupError, match="must begin with"):
            mail(content(body, body_format), {**VALUES, "contact": {"url": url}})
    watched()
    quoted = {**VALUES, "contact": {"url": 'https://x.example/" onclick="x'}}
    assert 'onclick="' not in mail(content(body, body_format), quoted)[1]


def test_both_ways_count_bytes_and_not_characters(watched):
    value = {**VALUES, "contact": {"wide": "😀" * 60_000, "first_name": "Eva"}}
    for body in ("{{ contact.wide }} {{ contact.wide | upcase }} {{ contact.wide }}", "{{ contact.wide }} " * 3):
        watched()
        with pytest.raises(RenderError, match=r"512 kB|limit reached"):
            mail(content(body), value)
    assert mail(content("{{ contact.wide }}"), value)[2].count("😀") == 60_000


def test_in_the_outbox_each_ends_once_and_harms_nobody_else(
    smtp_sink, make_template, make_message, make_contact, send, now
):
    """All payloads in one batch, two healthy mails among them: those leave, the others end as `render_error`."""
    healthy = [make_message(make_contact(first_name="Eva"), make_template(subject="Healthy")) for _ in range(2)]
    every = REFUSED | HARMLESS
    del every["a lone surrogate"]  # no text in Postgres holds one
    for name, source in every.items():
        person = make_contact(first_name="<script>alert(1)</script>", attributes=VALUES["contact"])
        make_message(person, make_template(name=name, body_format="html", body=source, subject="Payload"))
    send()
    sent, reasons = set(), {}
    for message in Message.objects.select_related("template"):
        if message.state == "sent":
            sent.add(message.template.name)
        else:
            reasons[message.template.name] = (message.state, message.reason, message.response)
    assert sent == {"", *HARMLESS}
    assert reasons.keys() == set(every) - set(HARMLESS)
    for name, (state, reason, sentence) in reasons.items():
        assert (state, reason) == ("failed", "render_error"), name
        assert is_a_sentence(sentence), (name, sentence)
    assert len(smtp_sink.mails) == len(HARMLESS) + len(healthy)
    assert not [mail for mail in smtp_sink.mails if betrays(mail.body("html"))]
    before = len(smtp_sink.mails)
    assert deliver(now=now) == 0
    assert len(smtp_sink.mails) == before
    assert Contact.objects.filter(attributes__number=10**17).count() == len(every)
    assert Template.objects.count() == len(every) + 2
