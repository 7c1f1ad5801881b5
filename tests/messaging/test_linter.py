"""The linter's rules: a text that breaks one of them says so, and says nothing else."""

import pytest

from messaging import colours, liquid
from messaging.linter import RULES, Around, check
from messaging.linter_rules import SENTENCES

BRAND = {
    "name": "Acme",
    "sender": "Acme <hello@acme.example>",
    "postal_address": "1 Main St, 602 00 Brno",
    "colours": {"primary": "#1a56db", "link": "#0b5c3a"},
    "fonts": {"body": "Arial, Helvetica, sans-serif"},
}
VOICE = {
    "languages": ["en", "cs", "pl"],
    "banned_words": {"": ["cheap"], "cs": ["levn*"], "pl": ["tani*", "darmow*"]},
    "glossary": {"": {"e-mail": ["email", "mejl*"]}, "en": {"Acme Cloud": ["AcmeCloud"]}},
    "tone": {
        "words_per_sentence": 20, "exclamation_marks": 1, "capitals": 30,
        "address": {"cs": "formal", "pl": "informal", "de": "informal"},
    },
}  # fmt: skip
TEXTS = {
    "en": {
        "subject": "Three things to try first, {{ contact.first_name | default: 'friend' }}",
        "preheader": "They take five minutes",
        "body": "# Good morning\n\nYour plan has three new parts. [Look at them](https://acme.example/new) when you "
        'have time.\n\n![The three](https://acme.example/a.png)\n\n<p style="color:#1a56db">Thank you.</p>',
    },
    "cs": {
        "subject": "Tři věci, které stojí za to zkusit",
        "preheader": "Zaberou pět minut",
        "body": "# Dobré ráno\n\nVáš tarif má tři nové části. [Podívejte se](https://acme.example/cs), až budete "
        "mít čas. Odpovědět můžete na tento e-mail.",
    },
    "pl": {
        "subject": "Trzy rzeczy, które warto wypróbować",
        "preheader": "Zajmą pięć minut",
        "body": "# Dzień dobry\n\nTwój plan ma trzy nowe części. [Zobacz je](https://acme.example/pl), "
        "kiedy masz czas.",
    },
}


def content(language="en", brand=None, body_format="markdown", message_class="marketing", channel="email", **values):
    """The clean letter in three languages; `values` change one of them."""
    variants = {code: dict(texts) for code, texts in TEXTS.items()}
    variants[language] |= values
    return {
        "channel": channel, "language": "en", "body_format": body_format, "message_class": message_class,
        "topic": "news", "variants": variants, "brand": BRAND | (brand or {}),
    }  # fmt: skip


def found(what, **told):
    told = {"voice": VOICE, "fields": frozenset({"plan"}), "dead": {}} | told
    return check(what, Around(**told))


def test_a_clean_letter_in_three_languages_breaks_no_rule():
    assert found(content()) == []


LINK = "https://acme.example/gone"
MJML = "<mjml><mj-body><mj-section><mj-column>{}</mj-column></mj-section></mj-body></mjml>"
# What breaks which rule, where, and a word of what is said.
BROKEN = [
    ("liquid", "error", "body", "Line 2", {"body": "One\n{% if contact.plan %}two"}),
    ("markup", "error", "body", "must begin with https://", {"body": "[x](javascript:alert(1))"}),
    ("empty", "error", "body", "no text", {"body": " "}),
    ("subject_line", "error", "subject", "one line", {"subject": "One\ntwo"}),
    ("token_without_default", "error", "body", "Line 3: contact.plan", {"body": "One two.\n\n{{ contact.plan }}"}),
    ("no_postal_address", "error", "body", "postal address", {"brand": {"postal_address": ""}}),
    ("no_unsubscribe", "error", "body", "unsubscribe",
     {"body_format": "html", "body": "<style>a {font-size:0}</style><p>A text of our own, with no link in it.</p>"}),
    ("legal_block_missing", "error", "translations.pl.body", "legal text",
     {"brand": {"legal": {"en": "Legal.", "cs": "Práva."}}}),
    ("too_large", "error", "body", "kB", {"body": "Some words. " * 9500}),
    ("contrast", "error", "body", "#cccccc on #ffffff has a contrast of 1.6",
     {"body": 'A word. <span style="color:#ccc">Faint.</span>'}),
    ("contrast", "warning", "body", "4.5", {"body": '<b style="color:#808080">Weak</b>'}),
    ("alt_text", "error", "body", "a.png", {"body": '<img src="https://acme.example/a.png">' + " word" * 10}),
    ("alt_text", "error", "body", "nobody hears",
     {"body": "[![](https://acme.example/a.png)](https://acme.example/x)" + " word" * 10}),
    ("dead_link", "error", "body", "is not there", {"body": f"[Look]({LINK})"}),
    ("empty_link", "error", "body", "“Look”", {"body": "[Look](#)"}),
    ("insecure_link", "warning", "body", "Line 3", {"body": "One.\n\n[Look](http://acme.example/)"}),
    ("missing_translation", "warning", "translations.de.body", "“en”", {"told": {"languages": ["de"]}}),
    ("missing_translation", "warning", "translations.cs.subject", "still", {"language": "cs",
     "subject": TEXTS["en"]["subject"]}),
    ("unknown_token", "warning", "body", "contact.plam", {"body": "Plan {{ contact.plam | default: 'free' }}"}),
    ("unknown_token", "warning", "body", "contct.plan", {"body": "Plan {{ contct.plan | default: 'free' }}"}),
    ("banned_word", "warning", "body", "Line 3: we do not use the word “Cheap”", {"body": "One.\n\nCheap plans."}),
    ("banned_word", "warning", "translations.cs.body", "levného", {"language": "cs", "body": "Něco levného pro vás."}),
    ("banned_word", "warning", "translations.pl.subject", "taniego", {"language": "pl", "subject": "Coś taniego"}),
    ("glossary", "warning", "body", "we write “e-mail”, not “Email”", {"body": "Email us."}),
    ("glossary", "warning", "body", "not “ACME cloud”", {"body": "Try ACME cloud today."}),
    ("tone", "warning", "body", "has 24 words", {"body": "word " * 24 + "."}),
    ("tone", "warning", "body", "Exclamation marks: 2", {"body": "So! And so!"}),
    ("tone", "warning", "body", "capitals", {"body": "WE HAVE SOMETHING NEW FOR ALL THE WORLD IN IT"}),
    ("tone", "warning", "translations.cs.body", "“můžeš” is familiar", {"language": "cs", "body": "Teď můžeš začít."}),
    ("tone", "warning", "translations.pl.body", "“Państwa” is formal", {"language": "pl", "body": "Plan dla Państwa."}),
    ("subject_length", "warning", "subject", "69", {"subject": "word " * 13 + "word"}),
    ("preheader_missing", "warning", "preheader", "preheader", {"preheader": ""}),
    ("off_brand_colour", "warning", "body", "#b00020", {"body": '<span style="color:#b00020">Red.</span>'}),
    ("off_brand_font", "warning", "body", "Papyrus", {"body": '<span style="font-family:Papyrus,serif">Odd.</span>'}),
    ("spam_hint", "warning", "subject", "capitals", {"subject": "LOOK AT THIS"}),
    ("spam_hint", "warning", "subject", "Re:", {"subject": "Re: our talk"}),
    ("spam_hint", "warning", "body", "pictures", {"body": "![A](https://acme.example/a.png)"}),
    ("spam_hint", "warning", "body", "evil.example", {"body": "[www.bank.example](https://evil.example/)"}),
    ("too_many_parts", "error", "body", "parts", {"channel": "sms", "body": "Some words. " * 90}),
    ("glossary", "warning", "body", "we write “e-mail”", {"channel": "sms", "body": "Email us."}),
    ("spam_hint", "warning", "body", "192.0.2.7", {"body": "[Look](https://192.0.2.7/x)"}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "severity", "field", "words", "values"), BROKEN)
def test_a_letter_that_breaks_one_rule_says_that_one(rule, severity, field, words, values):
    voice = VOICE | values.pop("told", {}) if "told" in values else VOICE
    problems = found(content(**values), voice=voice, dead={LINK: "not_found"})
    problems = [one for one in problems if rule != "no_postal_address" or one.language == "en"]  # it lacks in all
    assert [(one.rule, one.severity, one.field) for one in problems] == [(rule, severity, field)]
    assert words in problems[0].sentence
    assert problems[0].language == (field.split(".")[1] if "." in field else "en")


def test_every_rule_has_a_letter_that_breaks_it_and_every_sentence_its_rule():
    # That there is no brand is no matter of the text.
    assert {rule for rule, *_rest in BROKEN} | {"no_brand"} == set(RULES)
    assert {said.split(".")[0] for said in SENTENCES} == set(RULES)


@pytest.mark.parametrize(
    ("language", "text", "is_found"),
    [
        ("cs", "levný", True),
        ("cs", "Levnější", True),
        ("cs", "NEJLEVNĚJŠÍ", False),  # another word, unless the kit names it
        ("cs", "slevněný", False),
        ("cs", "cheap", True),  # banned everywhere
        ("pl", "tania", True),
        ("pl", "TANIEGO", True),
        ("pl", "darmowych", True),
        ("pl", "ocean tanich", True),
        ("pl", "pływanie", False),
        ("en", "levný", False),  # banned in Czech alone
        ("en", "cheaper", False),  # no star, no endings
        ("en", "CHEAP", True),
        ("en", "[x](https://cheap.example/cheap)", False),  # not what is seen
        ("en", "<span title=cheap>x</span>", False),
        ("en", "{{ contact.cheap | default: 'x' }}", False),
        ("en", "{% if contact.plan %}cheap{% else %}x{% endif %}", True),
        ("en", "{{ contact.plan | default: 'cheap' }}", True),
    ],
)
def test_banned_words_in_their_forms(language, text, is_found):
    rules = [one.rule for one in found(content(language, body=f"Ano. {text}"))]
    assert ("banned_word" in rules) is is_found


def test_words_are_found_however_their_accents_are_put_together():
    problems = found(content("cs", body="Tak levne\u030c to nejde."), voice=VOICE | {"banned_words": ["levně"]})
    assert [one.rule for one in problems] == ["banned_word"]


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [
        ("#000000", "#ffffff", 21.0),
        ("#777777", "#ffffff", 4.48),
        ("#767676", "#fff", 4.54),
        ("#595959", "white", 7.0),
        ("red", "white", 4.0),
        ("rgb(0, 0, 255)", "#ffffff", 8.59),
        ("#008000", "#ffffff", 5.14),
        ("#ffffff", "#ffffff", 1.0),
        ("rgba(0, 0, 0, 0.5)", "#ffffff", 3.95),
    ],
)
def test_contrast_is_what_wcag_says(one, other, ratio):
    first, second = colours.read(one), colours.read(other)
    assert abs(colours.contrast(first, second) - ratio) < 0.01
    assert colours.contrast(first, second) == colours.contrast(second, first)


def test_a_brand_whose_own_colours_are_faint_is_warned_and_hinders_nobody():
    """The brand of the contract: who writes a text can not mend it."""
    problems = found(content(brand={"colours": {"primary": "#0b6"}}))
    assert {(one.rule, one.severity, one.said) for one in problems if one.rule == "contrast"} == {
        ("contrast", "warning", "contrast.brand")
    }
    assert all(one.severity == "warning" for one in problems)


@pytest.mark.parametrize("text", ["", "no", "#12", "#12345", "rgb(1,2)", "url(x)", "#gggggg", "rgba(1,1,1,1.2.3)"])
def test_what_is_no_colour_is_none(text):
    assert colours.read(text) is None


@pytest.mark.parametrize(
    ("body", "is_hard"),
    [
        ('<div style="background:#222"><p style="color:#eee">Light on dark</p></div>', False),
        ('<div style="background:#222"><p>Dark on dark</p></div>', True),
        ('<table bgcolor="#333333"><tr><td>Dark on dark</td></tr></table>', True),
        ('<div style="background:url(x.png)"><p style="color:#eee">Over a picture</p></div>', False),
        ('<h1 style="color:#888">Large</h1>', False),
        ('<p style="color:#888">Small</p>', True),
        ('<p style="color:#888;font-size:18pt">Large</p>', False),
        ('<p style="display:none;color:#fff">Not there</p>', False),
        ('<p style="color:rgba(0,0,0,0.3)">Thin</p>', True),
    ],
)
def test_contrast_is_taken_where_the_words_stand(body, is_hard):
    rules = [one.rule for one in found(content(body=body, brand={"colours": {}}, body_format="html"))]
    assert ("contrast" in rules) is is_hard


@pytest.mark.parametrize(
    "style",
    ["div {display:none}", "p {visibility:hidden}", "p {font-size:0px}", "p {color:#fff}", "* {opacity:0}"],
)
def test_a_footer_that_styles_hide_is_no_footer(style):
    """Whoever may write CSS could hide it; that it is in the source is not enough."""
    html = f"<style>{style}</style><span>Words</span>"
    rules = {one.rule for one in found(content(body_format="html", body=html, brand={"fonts": {}}))}
    assert "no_postal_address" in rules


def test_transactional_mail_needs_an_address_and_no_way_out():
    assert found(content(message_class="transactional")) == []
    rules = [one.rule for one in found(content(message_class="transactional", brand={"postal_address": ""}))]
    assert set(rules) == {"no_postal_address"}


def test_what_mjml_makes_is_looked_at_like_all_else():
    good = MJML.format("<mj-text>Some words that everybody can read, and more of them here.</mj-text>")
    variants = {"en": TEXTS["en"] | {"body": good}}
    letter = content(body_format="mjml") | {"variants": variants}
    assert found(letter, voice={}) == []
    variants["en"]["body"] = MJML.format(
        '<mj-text color="#dddddd">Faint</mj-text><mj-image src="https://acme.example/a.png" />'
        '<mj-button background-color="#b00020" href="http://acme.example">Go</mj-button>'
    )
    rules = {one.rule for one in found(letter, voice={})}
    assert rules >= {"contrast", "off_brand_colour", "insecure_link"}


def test_names_and_addresses_of_a_frame_are_not_the_writers_words():
    brand = {"name": "CHEAP Ltd", "postal_address": "1 Cheap St", "legal": {"": "Cheap! Cheap! " + "law " * 99}}
    problems = found(content(brand=brand))
    assert problems == [], [one.sentence for one in problems]


def test_sentences_speak_the_readers_language_later_on():
    """What is stored is what was said, not how."""
    [one] = found(content(body="Cheap plans."))
    assert (one.said, one.excerpt) == ("banned_word", "Cheap")
    assert one.values["line"] == 1


def test_hostile_texts_harm_nobody():
    for body in [
        "<" * 2000,
        "[a](" * 400,
        "<style>" + "a{" * 900,
        "&" * 9000,
        "{{ " * 300,
        "<p style='" + "a:b;" * 2000,
    ]:
        assert isinstance(found(content(body=body, body_format="html")), list)
    assert liquid.MOST_OUTPUT
