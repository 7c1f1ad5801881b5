"""The brand kit as a form and as code, and the page on which it is seen to drift."""

import re

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.urls import reverse
from playwright.sync_api import expect

from contacts.definitions import DefinitionError
from journey_crm import as_code
from journey_crm.roles import MARKETER, ensure_roles
from messaging import nightly
from messaging.linter import RULES
from messaging.linting import problems_of
from messaging.models import Brand, LintFinding, Reading, Template
from tests.browser import log_in

BRAND_URL = "/admin/messaging/brand/1/change/"
PAGE = "/admin/messaging/consistency/"
KIT = """
brand:
  name: Acme
  from: Acme <hello@acme.example>
  postal_address: 1 Main St, Brno
  colours:
    primary: '#0b6'
    dark_text: '#eeeeee'
  fonts:
    body: Arial, sans-serif
  button_radius: 12
  languages:
  - en
  - cs
  banned_words:
    '': [cheap]
    cs: [levn*]
  glossary:
    cs:
      e-mail: [email, mejl*]
  tone:
    words_per_sentence: 20
    address:
      cs: formal
  legal:
    en: Registered in Brno.
"""


@pytest.fixture
def marketer(client, db):
    user = get_user_model().objects.create_user("marketer", password="x", is_staff=True)
    user.groups.add(ensure_roles()[MARKETER])
    client.force_login(user)
    return client


def inputs(page: str) -> dict[str, str]:
    """What a browser would send of the brand's form, unchanged."""
    form = page.split('id="brand_form"')[1].split("</form>")[0]
    told = {}
    for tag in re.findall(r"<input [^>]*>", form):
        if (name := re.search(r'name="([^"]+)"', tag)) and 'type="submit"' not in tag:
            value = re.search(r'value="([^"]*)"', tag)
            told[name[1]] = value[1] if value else ""
    told |= dict(re.findall(r'<textarea name="([^"]+)"[^>]*>\n?(.*?)</textarea>', form, re.DOTALL))
    for name, options in re.findall(r'<select name="([^"]+)"[^>]*>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', options)
        told[name] = chosen[1] if chosen else ""
    unescaped = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&#x27;": "'", "&amp;": "&"}
    for name, value in told.items():
        for written, meant in unescaped.items():
            value = value.replace(written, meant)
        told[name] = value
    return told


# The kit -------------------------------------------------------------------------------------------------------------


def test_the_kit_goes_out_as_code_and_in_again(db, now):
    as_code.apply([as_code.read(KIT)], now=now)
    written = as_code.write(as_code.export())
    assert [one.what for one in as_code.apply([as_code.read(written)], now=now)] == ["unchanged"]
    assert as_code.write(as_code.export()) == written
    brand = Brand.objects.get()
    assert brand.banned_words == {"": ["cheap"], "cs": ["levn*"]}
    assert brand.glossary == {"cs": {"e-mail": ["email", "mejl*"]}}
    assert (brand.button_radius, brand.languages) == (12, ["en", "cs"])


def test_the_brand_of_the_contract_is_enough(db, now):
    text = (
        'brand: {name: Acme, from: "Acme <hello@acme.example>", postal_address: "1 Main St, Brno", '
        'colours: {primary: "#0b6"}, banned_words: [cheap]}'
    )
    as_code.apply([as_code.read(text)], now=now)
    exported = as_code.read(as_code.write(as_code.export()))["brand"]
    assert exported == as_code.read(text)["brand"]


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ("colours: {primary: nocolour}", "colours"),
        ("colours: {hot: '#fff'}", "colours"),
        ("colours: ['#fff']", "colours"),
        ("fonts: {body: 'Comic'}", "fonts"),
        ("fonts: {body: 'x;color:red, serif'}", "fonts"),
        ("fonts: {foot: serif}", "fonts"),
        ("button_radius: 99", "button_radius"),
        ("button_radius: round", "button_radius"),
        ("languages: en", "languages"),
        ("languages: [english]", "languages"),
        ("banned_words: cheap", "banned_words"),
        ("banned_words: ['*']", "banned_words"),
        ("banned_words: {english: [cheap]}", "banned_words"),
        ("glossary: {cs: [email]}", "glossary"),
        ("glossary: {cs: {e-mail: email}}", "glossary"),
        ("tone: {words_per_sentence: many}", "tone"),
        ("tone: {words_per_sentence: 1}", "tone"),
        ("tone: {loudness: 3}", "tone"),
        ("tone: {address: {cs: polite}}", "tone"),
        ("tone: {address: {tlh: formal}}", "tone"),
        ("legal: Registered.", "legal"),
        ("legal: {en: [Registered.]}", "legal"),
    ],
)
def test_what_is_wrong_with_a_kit_names_its_field(db, now, part, field):
    text = "brand: {name: A, from: A <a@acme.example>, postal_address: B, " + part + "}"
    with pytest.raises(DefinitionError) as error:
        as_code.apply([as_code.read(text)], now=now)
    assert field in str(error.value)
    assert not Brand.objects.exists()


def test_the_form_shows_and_keeps_all_that_the_code_said(marketer, now):
    as_code.apply([as_code.read(KIT)], now=now)
    before = Brand.objects.values().get()
    page = marketer.get(BRAND_URL).content.decode()
    told = inputs(page)
    assert told["glossary_cs"] == "e-mail = email, mejl*"
    assert told["banned_all"] == "cheap"
    assert told["address_cs"] == "formal"
    assert "{&quot;" not in page  # no JSON anywhere
    assert marketer.post(BRAND_URL, told).status_code == 302
    assert Brand.objects.values().get() == before


def test_the_form_writes_each_language_and_shows_contrast(marketer, brand):
    told = inputs(marketer.get(BRAND_URL).content.decode())
    told |= {
        "colour_text": "#767676", "colour_background": "white", "font_body": "Georgia, serif",
        "languages": "en, cs, pl",         "tone_exclamation_marks": "1",
        "banned_all": "cheap\nfree", "banned_pl": "tani*", "legal_en": "Brno.",
        "glossary_en": "Acme Cloud\ne-mail = email", "address_pl": "informal",
    }  # fmt: skip
    assert marketer.post(BRAND_URL, told).status_code == 302
    brand.refresh_from_db()
    assert brand.colours == {"text": "#767676", "background": "white"}
    assert brand.languages == ["en", "cs", "pl"]
    assert brand.banned_words == {"": ["cheap", "free"], "pl": ["tani*"]}
    assert brand.glossary == {"en": {"Acme Cloud": [], "e-mail": ["email"]}}
    assert brand.tone == {"exclamation_marks": 1, "address": {"pl": "informal"}}
    assert brand.legal == {"en": "Brno."}
    assert "<span>4.5</span>" in marketer.get(BRAND_URL).content.decode()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("colour_primary", "bluish", "is no colour"),
        ("font_body", "Georgia", "every mail program has"),
        ("languages", "en, english", "is no language"),
        ("tone_words_per_sentence", "2", "greater than or equal to 5"),
        ("banned_cs", "*", "is no word"),
        ("glossary_cs", "= email", "is no term"),
        ("sender", "no address", ""),
        ("button_radius", "99", "less than or equal to 40"),
    ],
)
def test_an_error_stands_beside_its_input(marketer, brand, name, value, words):
    told = inputs(marketer.get(BRAND_URL).content.decode()) | {name: value}
    response = marketer.post(BRAND_URL, told)
    assert response.status_code == 200
    errors = response.context["adminform"].form.errors
    assert list(errors) == [name]
    assert words in errors[name][0]


def test_a_first_brand_is_made_by_the_same_form(marketer):
    told = inputs(marketer.get("/admin/messaging/brand/add/").content.decode())
    told |= {"name": "Acme", "sender": "Acme <a@acme.example>", "postal_address": "Brno", "legal_cs": "Práva."}
    assert marketer.post("/admin/messaging/brand/add/", told).status_code == 302
    assert Brand.objects.get().legal == {"cs": "Práva."}


def test_the_schema_itself_keeps_buttons_from_being_too_round(brand):
    brand.button_radius = 41
    with pytest.raises(ValidationError):
        brand.full_clean()


def test_the_linter_asks_by_the_kit(brand, newsletter):
    template = Template(key="x", topic=newsletter, subject="Hi", preheader="Words", body="So levného!! EMAIL us.")
    assert problems_of(template) == []
    brand.banned_words = {"en": ["levn*"]}
    brand.glossary, brand.tone, brand.languages = {"": {"e-mail": ["email"]}}, {"exclamation_marks": 1}, ["en", "de"]
    brand.save()
    rules = sorted(one.rule for one in problems_of(template))
    assert rules == ["banned_word", "glossary", "missing_translation", "tone"]


# The page ------------------------------------------------------------------------------------------------------------


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.fixture
def live(brand, newsletter, now, monkeypatch):
    """Five live messages, one of them written by an enemy, and the round of the night over them."""
    brand.banned_words, brand.languages = ["cheap"], ["en", "cs"]
    brand.colours, brand.glossary = {"primary": "#1a56db"}, {"": {"e-mail": ["email"]}}
    brand.fonts, brand.tone = {"body": "Arial, sans-serif"}, {"address": {"cs": "formal"}}
    brand.save()
    czech = {"cs": {"subject": "Dobrý den", "body": "Teď můžeš začít. Váš Acme."}}
    texts = {
        "clean": {"translations": {"cs": {"subject": "Dobrý den", "preheader": "Slova", "body": "Dobré ráno."}}},
        "cheap": {"body": "Cheap plans. Email us.", "translations": czech},
        "red": {"body": '<span style="color:#b00020;font-family:Papyrus">Red</span> and email.'},
        "gone": {"body": "[Look](#) "},
        "evil": {"name": EVIL, "body": f"{EVIL} cheap <span style='font-family:{EVIL[:20]}'>x</span>"},
    }
    for key, values in texts.items():
        Template.objects.create(
            **{"key": key, "topic": newsletter, "subject": "Hello", "preheader": "First words", "body": "Hi."} | values
        )
    monkeypatch.setattr(nightly, "live_templates", lambda: {key: ["Welcome"] for key in texts})
    assert nightly.lint(now, asks_links=False) is not None


def test_the_page_teaches_before_anybody_looked(marketer, brand):
    page = marketer.get(PAGE).content.decode()
    assert "Nobody has looked yet." in page
    marketer.post(f"{PAGE}look/")
    assert "No message is live." in marketer.get(PAGE).content.decode()


def test_the_page_says_where_the_brand_drifts(marketer, live):
    page = marketer.get(PAGE).content.decode()
    for words in [
        str(RULES["empty_link"].title), "we do not use the word “Cheap”", 'fill="#b00020"',
        "Papyrus", "we write “e-mail”, not “Email”", "Languages missing", "<strong>1</strong></td>",
        "All messages come from Acme",
    ]:  # fmt: skip
        assert words in page, words
    assert page.index(str(RULES["empty_link"].title)) < page.index(str(RULES["banned_word"].title))  # errors first
    gone = Template.objects.get(key="gone")
    assert reverse("admin:messaging_template_change", args=[gone.pk]) in page
    by_message = marketer.get(PAGE, {"by": "message"}).content.decode()
    assert by_message.index(">gone ") < by_message.index(">cheap ")
    assert marketer.get(PAGE, {"by": "what?"}).status_code == 200
    clean = Template.objects.get(key="clean")
    assert not LintFinding.objects.filter(template=clean).exists()
    assert Reading.objects.get(template=clean).tone.keys() == {"en", "cs"}


@pytest.mark.parametrize("by", ["rule", "message", "muted"])
def test_what_an_enemy_wrote_is_only_text(marketer, live, by):
    if by == "muted":
        for one in LintFinding.objects.filter(template__key="evil"):
            one.mute(by=None, reason=EVIL, now=one.since)
    page = marketer.get(PAGE, {"by": by}).content.decode()
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert " style=" not in page


def test_a_finding_is_muted_with_a_reason_and_the_muting_undone(marketer, live):
    one = LintFinding.objects.filter(rule="banned_word").first()
    assert marketer.post(f"{PAGE}{one.pk}/mute/", {"reason": "  "}).status_code == 302
    one.refresh_from_db()
    assert one.muted_at is None
    page = marketer.post(f"{PAGE}{one.pk}/mute/", {"reason": "A quotation.", "by": "message"}, follow=True)
    assert "Undo" in page.content.decode()
    one.refresh_from_db()
    assert (one.muted_by.username, one.mute_reason) == ("marketer", "A quotation.")
    assert "Muted by marketer: A quotation." in marketer.get(PAGE, {"by": "muted"}).content.decode()
    marketer.post(f"{PAGE}{one.pk}/unmute/")
    one.refresh_from_db()
    assert (one.muted_at, one.mute_reason) == (None, "")


def test_look_again_looks_at_once_or_leaves_much_to_the_next_minute(marketer, live, now, monkeypatch):
    Template.objects.filter(key="gone").update(body="Hi.")
    page = marketer.post(f"{PAGE}look/", follow=True).content.decode()
    assert "5 messages were looked at." in page
    assert not LintFinding.objects.open().filter(rule="empty_link").exists()
    monkeypatch.setattr("messaging.consistency.MOST_AT_ONCE", 4)
    assert "within the next minutes" in marketer.post(f"{PAGE}look/", follow=True).content.decode()
    assert nightly.last_round() is None


def test_only_who_may_sees_mutes_and_looks(client, live):
    one = LintFinding.objects.first()
    client.force_login(get_user_model().objects.create_user("staff", password="x", is_staff=True))
    assert client.get(PAGE).status_code == 403
    for url in (f"{PAGE}look/", f"{PAGE}{one.pk}/mute/", f"{PAGE}{one.pk}/unmute/"):
        assert client.post(url, {"reason": "x"}).status_code == 403
    one.refresh_from_db()
    assert one.muted_at is None


def test_to_look_and_to_mute_are_posts(marketer, live):
    one = LintFinding.objects.first()
    for url in (f"{PAGE}look/", f"{PAGE}{one.pk}/mute/", f"{PAGE}{one.pk}/unmute/"):
        assert marketer.get(url).status_code == 405


def test_the_page_asks_as_much_of_many_messages_as_of_few(
    marketer, live, brand, newsletter, now, django_assert_max_num_queries
):
    marketer.get(PAGE)
    with django_assert_max_num_queries(25):
        marketer.get(PAGE)
    Template.objects.bulk_create(
        Template(key=f"t{number}", topic=newsletter, subject="Hello", body="Cheap.") for number in range(60)
    )
    LintFinding.objects.bulk_create(
        LintFinding(
            template=one, language="en", rule="banned_word", severity="warning", field="body", excerpt=f"w{number}",
            said="banned_word", values={"line": 1, "word": "w"}, since=now, seen_at=now,
        )
        for one in Template.objects.filter(key__startswith="t") for number in range(6)
    )  # fmt: skip
    with django_assert_max_num_queries(25):
        page = marketer.get(PAGE).content.decode()
    assert "Only the first 300 findings are shown" in page


def test_home_points_at_live_messages_with_errors(marketer, live):
    page = marketer.get("/admin/").content.decode()
    assert "2 live messages have errors that the linter found." in page
    assert PAGE in page


@pytest.mark.django_db(transaction=True)
def test_in_a_browser_contrast_follows_the_picker_and_muting_is_undone(page, complaints, live):
    log_in(page, get_user_model().objects.create_superuser("karel"))
    page.goto(BRAND_URL)
    page.locator("[name=colour_text]").fill("#999999")
    output = page.locator("[data-upon=colour_background] output").first
    expect(output).to_contain_class("is-bad")
    expect(output).to_contain_text("2.8")
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for address in (BRAND_URL, PAGE, f"{PAGE}?by=message"):
            page.goto(address)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (address, width)
    page.goto(PAGE)
    page.locator("details.mute summary").first.click()
    page.locator("details.mute input[name=reason]").first.fill("It is meant so.")
    page.locator("details.mute button").first.click()
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("status").wait_for(state="detached")
    assert not LintFinding.objects.exclude(muted_at=None).exists()
