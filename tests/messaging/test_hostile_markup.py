"""Markup that would end or stop the process that reads it, and style sheets that hide what the law asks for."""

from time import process_time

import pytest

from messaging import linter, markup
from tests.messaging.test_linter import content, found

MJML = (
    "<mjml><mj-head><mj-style>{}</mj-style></mj-head><mj-body><mj-section><mj-column>{}</mj-column></mj-section>"
    "</mj-body></mjml>"
)
WORDS = "<mj-text>Some words that everybody can read, and more of them here.</mj-text>"
DEEP = {
    "html": ("html", "<div>" * 20_000),
    "html left open in cells": ("html", "<div><table><td></div></table>" * 5_000),
    "html left open by what is no comment": ("html", "<div><!x </div>" * 5_000),
    "html left open in a title": ("html", "<div><title></div></title>" * 5_000),
    "html of bold": ("html", "".join(f"<div><b x={number}></div>x" for number in range(5_000))),
    "markdown": ("markdown", "<div>" * 20_000),
    "blocks": ("blocks", '[{"kind":"text","text":"' + "<div>" * 20_000 + '"}]'),
    "mjml": ("mjml", MJML.format("", "<mj-wrapper>" * 3_000 + "</mj-wrapper>" * 3_000)),
    "mjml's html": ("mjml", MJML.format("", f"<mj-text>{'<p>' * 20_000}{'</p>' * 20_000}</mj-text>")),
}


def letter(body_format: str, body: str) -> dict:
    whole = content(body_format=body_format, body=body)
    return whole | {"variants": {"en": whole["variants"]["en"]}}


@pytest.mark.parametrize("name", DEEP)
def test_tags_in_tags_in_tags_are_a_sentence_and_not_the_end_of_the_process(name):
    with pytest.raises(markup.MarkupError, match="More than 100 tags"):
        markup.build(letter(*DEEP[name]), "en")


def test_tables_in_tables_that_people_do_write_are_no_matter():
    tables = "<table><tr><td>" * 30 + "<p>Words that everybody reads<br>here<p>and there" + "</td></tr></table>" * 30
    assert "Words" in markup.build(letter("html", tables + "<p>One.<li>Two" * 500), "en").html
    many = "<mj-text>A <b>word</b><br/>more</mj-text><mj-image src='https://acme.example/a.png' alt='a > b' />" * 200
    assert "word" in markup.build(letter("mjml", MJML.format("", many)), "en").html


ENDLESS = {
    "value": ("markdown", "{{ " * 20_000),
    "value behind another's end": ("markdown", "}} " * 20_000 + "{{ " * 20_000 + "%}"),
    "tag of Liquid": ("html", "{% " * 20_000),
    "values": ("markdown", "{{a}}" * 20_000),
    "attribute": ("html", "<a href='" * 10_000),
    "tag": ("html", "<a" * 10_000),
    "style": ("html", "<style>" * 20_000),
    "style that is no tag": ("html", "<style" * 20_000),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_never_ends_is_read_once_and_not_from_each_of_its_beginnings(name):
    """Each of these took from six seconds to hours. The bound is that of the sandbox, far above what is needed."""
    begun = process_time()
    try:
        markup.build(letter(*ENDLESS[name]), "en")
    except markup.MarkupError:
        pass
    assert process_time() - begun < 2


@pytest.mark.parametrize(
    ("source", "marked"),
    [
        ("a {{ b }} c", "a xLQ0Qx c"),
        ("{% if x %}y{% endif %}", "<!--LQ0-->y<!--LQ1-->"),
        ("<a {% if x %}y{% endif %}>", "<a xLQ0Qxy xLQ1Qx>".replace("y x", "yx")),
        ("[a]({% if x %}y{% endif %})", "[a](xLQ0QxyxLQ1Qx)"),
        ("{{ '<' }}{% if x %}", "xLQ0QxxLQ1Qx"),
        ("{{{ x }}} {{ {% if y %}", "xLQ0Qx} {{ <!--LQ1-->"),
        ("{{ %} {% }} x", "xLQ0Qx x"),
        ("{", "{"),
    ],
)
def test_liquid_is_hidden_where_it_stands_and_comes_back(source, marked):
    hidden = markup.Hidden()
    assert markup.hide(source, hidden) == marked
    assert hidden.restore(marked) == source


@pytest.mark.parametrize(
    "style",
    [
        "p,a {display:none !important}",
        "@media all {p,a {display:none !important}}",
        "@media screen {@supports (color:red) {p,a {color:#fff !important}}}",
        "/* } */ p {position:absolute !important; left:-9999px !important}",
        "p {opacity:.01 !important}",
        "p {text-indent:-9999px !important}",
    ],
)
def test_a_style_sheet_of_mjml_hides_no_footer(style):
    rules = {one.rule for one in linter.check(letter("mjml", MJML.format(style, WORDS)))}
    assert "no_postal_address" in rules


def test_style_sheets_for_small_screens_and_dark_mode_are_no_matter():
    style = (
        ".extra {display:none !important} @media (max-width:480px) {.wide {display:none !important}} "
        "@media (prefers-color-scheme: dark) {p {color:#ffffff !important} body {background:#000 !important}}"
    )
    assert found(letter("mjml", MJML.format(style, WORDS)), voice={}) == []


@pytest.mark.parametrize(
    "style", ["p {opacity:0.01}", "p {text-indent:-9999px}", "div {position:absolute;left:-999em}"]
)
def test_a_footer_far_off_or_as_good_as_transparent_is_no_footer(style):
    rules = {one.rule for one in found(letter("html", f"<style>{style}</style><span>Words</span>"))}
    assert "no_postal_address" in rules
