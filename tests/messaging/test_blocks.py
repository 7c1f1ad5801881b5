"""Mails built of blocks: what may be said of each, and the mail that comes of it."""

import json
import re

import pytest

from messaging import blocks, liquid, markup
from messaging.blocks import BlocksError
from messaging.skeleton import Addressee, Skeleton

LOOK = "https://acme.example/look"
ALL = [
    {"kind": "heading", "text": "Hello {{ contact.first_name | default: 'you' }}", "level": "2", "align": "center"},
    {"kind": "text", "text": "Some *words* and [a link](https://acme.example/text?a=1&b=2)\n\n- one\n- two"},
    {"kind": "picture", "url": "https://acme.example/p.png", "alt": "A bike", "link": LOOK, "width": 300},
    {"kind": "button", "text": "Look", "link": LOOK, "look": "plain"},
    {
        "kind": "columns",
        "columns": [[{"kind": "text", "text": "Left"}], [{"kind": "button", "text": "Right", "link": LOOK}]],
    },
    {"kind": "product", "name": "Bike", "picture": "https://acme.example/b.png", "alt": "Blue", "price": "99 €",
     "text": "Fast.", "link": "https://acme.example/bike", "label": "Buy"},
    {"kind": "social", "links": [{"name": "Mastodon", "url": "https://m.example/@acme"}]},
    {"kind": "divider"},
    {"kind": "spacer", "height": 40},
    {"kind": "reusable", "key": "signature"},
]  # fmt: skip
SIGNATURE = {"language": "en", "body_format": "markdown", "bodies": {"en": "Yours, *Eva*", "cs": "Vaše *Eva*"}}


def content(body, **more):
    return {
        "language": "en",
        "body_format": "blocks",
        "message_class": "marketing",
        "topic": "newsletter",
        "variants": {"en": {"subject": "S", "preheader": "First words", "body": json.dumps(body)}},
        "brand": {"name": "Acme & Sons", "sender": "Acme <a@acme.example>", "postal_address": "1 Main St, Brno"},
        "reusable": {"signature": SIGNATURE},
    } | more


def test_there_are_ten_kinds_and_all_of_them_make_a_mail():
    assert len(blocks.KINDS) == 10 and {one["kind"] for one in ALL} == set(blocks.KINDS)
    letter = markup.build(content(ALL), "en")
    liquid.parse(letter.html, is_html=True)
    for part in [
        ">Hello {{ contact.first_name | default: 'you' }}</h2>", "<em>words</em>", '<li>one</li>', 'alt="A bike"',
        'width="300"', ">Left</p>", ">Right</a>", ">Bike</h3>", "99 €", ">Buy</a>", ">Mastodon</a>", "<em>Eva</em>",
        "height:40px", "1 Main St, Brno", "{{ links.unsubscribe }}", "Acme &amp; Sons", "First words",
    ]:  # fmt: skip
        assert part in letter.html, part
    assert letter.links == (
        "https://acme.example/text?a=1&b=2", LOOK, "https://acme.example/bike", "https://m.example/@acme",
    )  # fmt: skip
    assert letter.text.startswith("Acme & Sons\n\nHello {{ contact.first_name")
    assert "Look ({{ tracked.l1 }})" in letter.text and "A bike" in letter.text
    assert "\ue00f" not in letter.html and "e00f" not in letter.html and "LQ" not in letter.html
    assert "<title>Acme &amp; Sons</title>" in letter.html


WRONG = [
    ({"kind": "shout"}, "blocks[1].kind", "There is no block 'shout'"),
    ({"kind": ["text"]}, "blocks[1].kind", "There is no block"),
    ({}, "blocks[1].kind", "There is no block"),
    ("text", "blocks[1]", "mapping with a kind"),
    ({"kind": "text"}, "blocks[1].text", "missing"),
    ({"kind": "heading", "text": "  "}, "blocks[1].text", "missing"),
    ({"kind": "heading", "text": "a\nb"}, "blocks[1].text", "one line"),
    ({"kind": "heading", "text": 3}, "blocks[1].text", "text"),
    ({"kind": "heading", "text": "a", "level": "7"}, "blocks[1].level", "one of 1, 2, 3"),
    ({"kind": "heading", "text": "a", "colour": "red"}, "blocks[1].colour", "not known"),
    ({"kind": "picture", "url": "https://a.example/x.png"}, "blocks[1].alt", "what the picture shows"),
    ({"kind": "picture", "url": "https://a.example/x.png", "alt": " "}, "blocks[1].alt", "what the picture shows"),
    ({"kind": "picture", "url": "javascript:x", "alt": "a"}, "blocks[1].url", "begins with https"),
    ({"kind": "picture", "url": "data:image/png;base64,x", "alt": "a"}, "blocks[1].url", "begins with https"),
    ({"kind": "picture", "url": "https://a.example/x y", "alt": "a"}, "blocks[1].url", "no blanks"),
    ({"kind": "picture", "url": "https://a.example/x", "alt": "a", "width": 9999}, "blocks[1].width", "16 to 600"),
    ({"kind": "picture", "url": "https://a.example/x", "alt": "a", "width": True}, "blocks[1].width", "16 to 600"),
    ({"kind": "button", "text": "Go"}, "blocks[1].link", "where the button leads"),
    ({"kind": "button", "text": "Go", "link": "acme.example"}, "blocks[1].link", "must begin with https"),
    ({"kind": "button", "text": "Go", "link": "java\tscript:alert(1)"}, "blocks[1].link", "no blanks"),
    ({"kind": "button", "text": "Go", "link": "https://[x"}, "blocks[1].link", "must begin with https"),
    ({"kind": "button", "text": "Go", "link": "https://a.example:x"}, "blocks[1].link", "must begin with https"),
    ({"kind": "product", "name": "a", "picture": "https://a.example/x"}, "blocks[1].alt", "what the picture shows"),
    ({"kind": "columns", "columns": [[]]}, "blocks[1].columns", "two or three"),
    ({"kind": "columns", "columns": [[], {"kind": "text"}]}, "blocks[1].columns[1]", "list of blocks"),
    ({"kind": "columns", "columns": [[], [{"kind": "columns"}]]}, "blocks[1].columns[1][0].kind", "can not stand here"),
    ({"kind": "columns", "columns": [[], [{"kind": "picture", "url": "https://a.example/x"}]]},
     "blocks[1].columns[1][0].alt", "what the picture shows"),
    ({"kind": "social", "links": [{"name": "X", "url": "ftp://x"}]}, "blocks[1].links[0].url", "must begin with"),
    ({"kind": "social", "links": [{"url": LOOK}]}, "blocks[1].links[0].name", "called"),
    ({"kind": "reusable", "key": "../x"}, "blocks[1].key", "no key"),
    ({"kind": "text", "text": "a", "show_if": "a %}{% include 'x'"}, "blocks[1].show_if", "one line of Liquid"),
    ({"kind": "text", "text": "a", "show_if": "contact.country =="}, "blocks[1].show_if", ""),
    ({"kind": "text", "text": "a", "show_if": 3}, "blocks[1].show_if", "one line of Liquid"),
]  # fmt: skip


@pytest.mark.parametrize(("block", "path", "sentence"), WRONG)
def test_what_is_wrong_is_told_with_the_path_of_its_block(block, path, sentence):
    with pytest.raises(BlocksError) as caught:
        blocks.read(json.dumps([{"kind": "divider"}, block]))
    assert caught.value.wrong[0].path == path
    assert sentence in caught.value.wrong[0].sentence


@pytest.mark.parametrize(
    "body", ["{", "{}", '"x"', "[1", "null", "[" * 100_000, json.dumps([{"kind": "divider"}] * 201)]
)
def test_what_is_no_list_of_blocks_is_refused(body):
    with pytest.raises(BlocksError):
        blocks.read(body)


EVIL = (
    "<script>alert(1)</script><img src=x onerror=alert(1)> \"'> </mj-text></mjml> \ue00f0\ue00f xLQ0Qx <!--LQ99--> ]]>"
)


@pytest.mark.parametrize(
    "block",
    [
        {"kind": "heading", "text": EVIL},
        {"kind": "text", "text": EVIL},
        {"kind": "picture", "url": "https://a.example/x", "alt": EVIL},
        {"kind": "picture", "url": "https://a.example/\"><script>alert(1)</script>".replace(" ", ""), "alt": "a"},
        {"kind": "button", "text": EVIL, "link": "https://a.example/'\"><script>alert(1)</script>"},
        {"kind": "product", "name": EVIL, "price": EVIL, "text": EVIL, "link": LOOK, "label": EVIL},
        {"kind": "social", "links": [{"name": EVIL, "url": LOOK}]},
        {"kind": "columns", "columns": [[{"kind": "text", "text": EVIL}], []]},
    ],
)  # fmt: skip
def test_script_in_any_text_stays_text(block):
    letter = markup.build(content([block, {"kind": "heading", "text": "after"}]), "en")
    html = re.sub(r"<!--\[if.*?<!\[endif\]-->", "", letter.html, flags=re.DOTALL)
    tags = re.findall(r"<\s*(\w+)((?:\s+[\w:-]+(?:=(?:\"[^\"]*\"|'[^']*'|[^\s>]*))?)*)", html)
    assert not [tag for tag, _attributes in tags if tag.lower() in ("script", "iframe", "svg")]
    assert not [
        attributes for _tag, attributes in tags if re.search(r"\son\w+\s*=", re.sub(r'"[^"]*"', '""', attributes))
    ]
    assert ">after</h1>" in html and html.rindex("after") < html.index("1 Main St")


def test_a_condition_shows_a_block_to_whom_it_is_for():
    body = [
        {"kind": "text", "text": "Ahoj", "show_if": 'contact.country == "CZ"'},
        {"kind": "columns", "show_if": "contact.plan", "columns": [
            [{"kind": "text", "text": "On {{ contact.plan }}"}],
            [{"kind": "text", "text": "Poland", "show_if": "contact.country != 'CZ'"}],
        ]},
    ]  # fmt: skip
    skeleton = Skeleton(content(body), "en")
    to = Addressee(1, "e@x.example", "m", "d", {"open": "o", "hidden": "h", "unsubscribe": "u", "preferences": "p"}, {})

    def text(**person):
        return skeleton.bodies(skeleton.values({"contact": person}, to, ""), {})[1]

    assert "Ahoj" in text(country="CZ") and "On " not in text(country="CZ")
    assert "On pro" in text(country="PL", plan="pro") and "Poland" in text(country="PL", plan="pro")
    assert "Poland" not in text(country="CZ", plan="pro")
    # A value under a condition about it needs no default.
    assert not [one for _path, one in blocks.texts(body) if any(
        not token.has_default for token in liquid.tokens(liquid.parse(one, is_html=True)))]  # fmt: skip


def test_a_reusable_block_speaks_the_language_of_the_mail():
    body = [{"kind": "reusable", "key": "signature"}]
    both = content(body)
    for language in ("cs", "pl"):
        both["variants"][language] = both["variants"]["en"]
    assert "<em>Eva</em>" in markup.build(both, "cs").html and "Vaše" in markup.build(both, "cs").html
    assert "Yours" in markup.build(both, "pl").html
    with pytest.raises(markup.MarkupError, match="no reusable block 'signature'"):
        markup.build(content(body, reusable={}), "en")


def test_a_mail_of_blocks_knows_dark_mode_and_is_read_on_any_colour():
    button = [{"kind": "button", "text": "Go", "link": LOOK}]
    for primary, on in [("#0b6e4f", "#ffffff"), ("#ffe08a", "#000000"), ("navy", "#ffffff"), ("</style>", "#ffffff")]:
        brand = content(button)["brand"] | {"colours": {"primary": primary}}
        html = markup.build(content(button, brand=brand), "en").html
        assert '<meta name="color-scheme" content="light dark">' in html
        assert "@media (prefers-color-scheme: dark)" in html
        assert f"color:{on}" in html and "</style></style>" not in html
    assert 'lang="en"' in html and "<style" in html and ' style="' in html


def test_the_same_blocks_are_written_the_same_to_the_byte():
    body = blocks.write(ALL)
    assert blocks.write(blocks.read(body)) == body
    shuffled = [dict(reversed(list(one.items()))) for one in ALL]
    assert blocks.write(shuffled) == body
    assert (
        blocks.write([{"kind": "text", "text": "ž", "align": "", "show_if": None}])
        == '[\n {\n  "kind": "text",\n  "text": "ž"\n }\n]'
    )
