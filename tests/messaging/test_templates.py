"""Texts that people write: what they may do, what they may not, and what comes of them."""

import email
import email.policy
import time

import pytest

from messaging import liquid, markup
from messaging.liquid import RenderError
from messaging.plaintext import from_html
from messaging.skeleton import Addressee, Skeleton

SECRET = "s3cr3t-canary"
VALUES = {"contact": {"first_name": "<b>Eva</b>", "list": ["a", "b"]}, "moment": "2026-11-10T10:00:00+01:00"}
LONG = "{% assign x = 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' %}" + "{% assign x = x | append: x %}" * 16

ESCAPES = [
    "{% include '/etc/passwd' %}",
    "{% render 'settings.py' %}",
    "{% extends 'x' %}",
    "{% block x %}{% endblock %}",
    "{% macro x %}{% endmacro %}",
    "{% load static %}",
    "{% debug %}",
    "{% csrf_token %}",
    "{{ contact.__class__ }}",
    "{{ contact.__class__.__mro__ }}",
    "{{ contact['__class__'] }}",
    "{{ ''.__class__ }}",
    "{{ contact.first_name.__init__.__globals__ }}",
    "{{ contact.items }}",
    "{{ contact.keys | join: ',' }}",
    "{{ settings.SECRET_KEY }}",
    "{{ request.META }}",
    "{{ self }}",
    "{{ globals }}",
    "{{ contact | json }}",
    "{{ contact.first_name | safe }}",
    "{{ contact.first_name | attr: '__class__' }}",
    "{{ 'cHl0aG9u' | base64_decode }}",
    "{% for i in (1..1000000000) %}x{% endfor %}",
    "{% for i in (1..100) %}{% for j in (1..100) %}{% for k in (1..100) %}x{% endfor %}{% endfor %}{% endfor %}",
    "{% for i in (1..9999) %}" + "x" * 700 + "{% endfor %}",
    "{{ (1..1000000000) | join: 'x' }}",
    "{{ (1..1000000000) | size | times: 1000000000000 | times: 1000000000000 }}",
    LONG + "{{ x | replace: 'x', x }}",
    LONG + "{% for i in (1..9000) %}{% assign y = x | replace: 'x', 'y' | upcase | downcase %}{% endfor %}",
    "{{ 9999999999 | times: 9999999999 | times: 9999999999 }}",
    "{{ 'x' | slice: 0, 99999999999999999999 | append: contact.zz }}",
    "{% tablerow i in (1..1000000) %}x{% endtablerow %}",
    "{% capture x %}{% for i in (1..9999) %}" + "y" * 200 + "{% endfor %}{% endcapture %}{{ x }}",
    "{% if " + "(" * 500 + "true" + ")" * 500 + " %}x{% endif %}",
    "{% if x %}" * 200 + "{% endif %}" * 200,
    "{{ 'now' | date: '%999999999d' }}{{ contact.zz }}",
    "{% liquid\n include 'x'\n%}",
]


@pytest.mark.parametrize("payload", ESCAPES)
def test_a_template_can_not_escape_or_exhaust_us(payload, settings):
    settings.SECRET_KEY = SECRET
    started = time.process_time()
    with pytest.raises(RenderError):
        liquid.render(payload, VALUES, is_html=True)
    # Not a measure of speed: the sandbox itself ends after two seconds.
    assert time.process_time() - started < 4


@pytest.mark.parametrize(
    ("source", "values", "html"),
    [
        ("{{ contact.first_name }}", {}, "&lt;b&gt;Eva&lt;/b&gt;"),
        ("{{ contact.first_name | upcase }}", {}, "&lt;B&gt;EVA&lt;/B&gt;"),
        ("{{ contact.gone | default: '<i>' }}", {}, "&lt;i&gt;"),
        ("{{ contact.gone | default: contact.first_name }}", {}, "&lt;b&gt;Eva&lt;/b&gt;"),
        ("{% assign x = contact.first_name %}{{ x }}", {}, "&lt;b&gt;Eva&lt;/b&gt;"),
        ("{% capture x %}{{ contact.first_name }}{% endcapture %}{{ x }}", {}, "&lt;b&gt;Eva&lt;/b&gt;"),
        ("{{ contact.first_name | strip_html }}", {}, "Eva"),
        ("{{ contact.first_name | append: '<u>' }}", {}, "&lt;b&gt;Eva&lt;/b&gt;&lt;u&gt;"),
        ("{{ contact.first_name | newline_to_br }}", {}, "&lt;b&gt;Eva&lt;/b&gt;"),
        ("{{ '<script>' }}{% assign x = '<i>' %}{{ x }}", {}, "&lt;script&gt;&lt;i&gt;"),
        ("{{ contact.list | join: '<br>' }}", {}, "a&lt;br&gt;b"),
        ("{% if contact.gone %}a{% else %}b{% endif %}", {}, "b"),
        ("{% if contact.gone == 'x' %}a{% else %}b{% endif %}", {}, "b"),
        ("{% for one in contact.list %}[{{ one }}]{% endfor %}", {}, "[a][b]"),
        ("{{ 'now' | date: '%Y-%m-%d' }}", {}, "2026-11-10"),
    ],
)
def test_values_are_escaped_whatever_is_done_to_them(source, values, html):
    rendered = liquid.render(source, VALUES, is_html=True)
    assert rendered.replace("&#39;", "'").replace("&#34;", '"') == html


@pytest.mark.parametrize(
    "source", ["{{ contact.gone }}", "{{ contact.gone | upcase }}", "{{ gone }}", "{{ contact.gone.more }}"]
)
def test_a_missing_value_without_a_default_is_an_error(source):
    with pytest.raises(RenderError, match="undefined"):
        liquid.render(source, VALUES, is_html=True)


def content(body, body_format="markdown", message_class="marketing", **brand):
    return {
        "language": "en",
        "body_format": body_format,
        "message_class": message_class,
        "topic": "newsletter",
        "variants": {"en": {"subject": "S", "preheader": "First words", "body": body}},
        "brand": {"name": "Acme & Sons", "sender": "Acme <a@acme.example>", "postal_address": "1 Main St, Brno"}
        | brand,
    }


def test_raw_html_in_markdown_is_cleaned():
    letter = markup.build(
        content("<script>alert(1)</script>\n\nA <b onclick='x()'>b</b> <iframe src=x></iframe> *i*"), "en"
    )
    assert "alert" not in letter.html
    assert "onclick" not in letter.html
    assert "<iframe" not in letter.html
    assert "<b>b</b>" in letter.html
    assert "<em>i</em>" in letter.html


def test_the_styles_of_html_are_put_inline():
    letter = markup.build(content("<style>.x{color:red}</style><p class=x>Hi</p>", "html"), "en")
    assert 'style="color: red' in letter.html.replace("margin: 0 0 16px;", "")


def test_the_footer_can_not_be_left_off():
    for body, body_format in [
        ("Hi</div></body></html>", "html"),
        ("Hi <!-- ", "html"),
        ("Hi\n\n<div style='display:none'>", "markdown"),
        (
            "<mjml><mj-body><mj-section><mj-column><mj-text>Hi</mj-text></mj-column></mj-section></mj-body></mjml>",
            "mjml",
        ),
    ]:
        letter = markup.build(content(body, body_format), "en")
        for part in (letter.html, letter.text):
            assert "1 Main St, Brno" in part
            assert "{{ links.unsubscribe }}" in part
            assert "{{ links.preferences }}" in part
        assert letter.html.index("Hi") < letter.html.index("1 Main St, Brno")
        assert letter.html.rindex("</div>") > letter.html.index("1 Main St, Brno")


def test_a_transactional_mail_has_an_address_but_no_way_out():
    letter = markup.build(content("Your order", message_class="transactional"), "en")
    assert "1 Main St, Brno" in letter.html
    assert "unsubscribe" not in letter.html


def test_the_brand_dresses_every_mail():
    brand = {"logo_url": "https://acme.example/l.png", "colours": {"primary": "#0b6"}, "legal": {"en": "Reg. <1>"}}
    html = markup.build(content("Hi", **brand), "en").html
    assert 'src="https://acme.example/l.png"' in html
    assert "#0b6" in html
    assert "Reg. &lt;1&gt;" in html
    assert "Acme &amp; Sons" in html
    evil = {"logo_url": "javascript:x", "colours": {"primary": 'red"><script>'}}
    html = markup.build(content("Hi", **evil), "en").html
    assert "javascript" not in html
    assert "<script" not in html


def test_liquid_survives_tables_and_lists():
    body = (
        "{% for one in contact.list %}\n- {{ one }}\n{% endfor %}\n\n"
        "<table>{% for one in contact.list %}<tr><td>{{ one }}</td></tr>{% endfor %}</table>"
    )
    letter = markup.build(content(body), "en")
    html = liquid.render(letter.html.split('class="text"')[1].split("1 Main")[0], VALUES, is_html=True)
    assert html.count("<tr><td>") == 2
    assert html.count("<li>") == 2


def test_the_text_part_reads_well():
    html = (
        "<html><head><title>no</title><style>p{}</style></head><body><h1>Title</h1><p>One <b>two</b>\n three&nbsp;"
        '&amp;<br>four</p><ul><li>a</li><li><a href="https://x.example/">b</a></li></ul><ol><li>c</li><li>d</li></ol>'
        '<img src="x" alt="Picture"><img src="y" alt=""><a href="mailto:a@b.example">a@b.example</a>'
        "<pre>x\n  y</pre></body></html>"
    )
    assert from_html(html) == (
        "Title\n\nOne two three\xa0&\nfour\n\n- a\n- b (https://x.example/)\n\n1. c\n2. d\n\n"
        "Picturea@b.example\n\nx\ny\n"
    )


def test_the_fast_way_and_the_whole_way_make_the_same_mail():
    """Slots between encoded stretches decode to what Liquid makes of the whole text."""
    body = (
        "Příliš {{ contact.first_name | default: 'x' }} žluťoučký = {{ contact.list | join: ', ' }}. [l](https://x.example/)\n"
        * 9
    )
    skeleton = Skeleton(content(body), "en")
    assert skeleton._is_simple
    to = Addressee(
        1, "e@x.example", "m1@x", "Tue, 10 Nov 2026 10:00:00 +0000",
        {"open": "http://h/o", "unsubscribe": "http://h/u/", "preferences": "http://h/p/", "hidden": "http://h/l"},
        {"l0": "http://h/t/c/abc"},
    )  # fmt: skip
    values = skeleton.values({"contact": {"first_name": "Žofie = <Nová>.\n.x " * 30, "list": ["a", "b"]}}, to, "")
    _, raw = skeleton.mail(values, to, {})
    html, text = skeleton.bodies(values, {})
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert mail.get_body(("html",)).get_content().replace("\r\n", "\n").rstrip() == html.rstrip()
    assert mail.get_body(("plain",)).get_content().split() == text.split()
    assert max(map(len, raw.split(b"\r\n"))) <= 78
