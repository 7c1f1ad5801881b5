"""What stands behind the editor: the plain form, drawing without saving, reusable blocks, blocks as code."""

import json

import pytest
import yaml
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils import timezone

from contacts import tokens
from contacts.definitions import DefinitionError
from contacts.models import Contact, Field
from contacts.segments import users_of_field
from journey_crm import as_code
from messaging import chips
from messaging.linting import problems_of
from messaging.models import Message, ReusableBlock, Template, TemplateVersion, TrialMail
from messaging.preview import rendered, sample
from messaging.uses import users_of_reusable

URL = "/admin/messaging/template/"
HELLO = [{"kind": "heading", "text": "Hello {{ contact.first_name | default: 'you' }}"}]
WITH_SIGNATURE = [*HELLO, {"kind": "reusable", "key": "signature"}]


@pytest.fixture
def boss(client, db):
    user = User.objects.create_superuser("boss", email="boss@acme.example")
    client.force_login(user)
    return client


@pytest.fixture
def signature(db):
    return ReusableBlock.objects.create(
        key="signature", name="Signature", body_format="markdown", body="Yours, Eva",
        translations={"cs": {"body": "Vaše Eva"}},
    )  # fmt: skip


def form(**more):
    return {
        "name": "N", "key": "n", "channel": "email", "message_class": "marketing", "language": "en", "subject": "Hi",
        "preheader": "",
        "body_format": "blocks", "body": json.dumps(HELLO), "translations": "{}", "utm": "{}", "quiet_hours": "default",
        "holdout": "0",
    } | more  # fmt: skip


# Drawing -------------------------------------------------------------------------------------------------------------


def test_what_is_not_saved_is_drawn_and_nothing_is_written(boss, make_contact, brand, newsletter):
    person = make_contact(first_name="Žofie", language="cs")
    told = form(topic=newsletter.pk, contact=person.pk, translations='{"cs": {"subject": "Ahoj"}}')
    answer = boss.post(f"{URL}draw/", told).json()
    assert answer["subject"] == "Ahoj" and answer["language"] == "cs" and "Hello Žofie" in answer["text"]
    assert 5_000 < answer["bytes"] < answer["most"] == 102 * 1024
    assert boss.post(f"{URL}draw/", told | {"shown": "en"}).json()["subject"] == "Hi"
    mail = boss.post(f"{URL}draw/mail/", told)
    assert "Hello Žofie" in mail.content.decode() and mail["Content-Security-Policy"].startswith("sandbox;")
    assert "@media not all" in mail.content.decode()
    assert "@media all" in boss.post(f"{URL}draw/mail/", told | {"dark": "1"}).content.decode()
    for model in (Template, TemplateVersion, Message, TrialMail):
        assert not model.objects.exists()
    assert boss.get(f"{URL}draw/").status_code == 405


def test_problems_name_their_language_field_and_block(boss, brand, newsletter):
    wrong = [*HELLO, {"kind": "picture", "url": "https://acme.example/x.png"}]
    told = form(topic=newsletter.pk, body=json.dumps(wrong), translations=json.dumps({"cs": {"subject": "{% if %}"}}))
    answer = boss.post(f"{URL}draw/", told).json()
    found = {(one["language"], one["field"], one["path"], one["level"]) for one in answer["problems"]}
    assert ("en", "body", "blocks[1].alt", "error") in found and ("cs", "subject", "", "error") in found
    assert ("cs", "body", "blocks[1].alt", "error") not in found, "told once, for cs is as en there"
    # What is finished is shown meanwhile.
    assert "Hello you" in answer["text"]
    city = {"kind": "columns", "columns": [[{"kind": "text", "text": "{{ contact.city }}"}], []]}
    problems = boss.post(f"{URL}draw/", told | {"body": json.dumps([*HELLO, city])}).json()["problems"]
    [missing] = [one for one in problems if one["rule"] == "token_without_default"]
    assert missing["path"] == "blocks[1].columns[0][0].text" and "contact.city may be missing" in missing["sentence"]


@pytest.mark.parametrize(
    "values",
    [
        {"body": "["}, {"body": "\0"}, {"body": "[" * 5000}, {"translations": "["}, {"translations": '{"cs": 1}'},
        {"translations": '{"cs": {"body": 5}}'}, {"utm": "[]"}, {"utm": '{"campaign": "{x}"}'}, {"topic": "9" * 30},
        {"contact": "9" * 30}, {"contact": "x@y"}, {"pk": "99999"}, {"language": ""}, {"body_format": "word"},
        {"message_class": "x"}, {"subject": "\ud800".encode("utf-8", "surrogatepass")}, {"shown": "xx"},
        {"translations": '{"\\ud800": {"body": "x"}}'},
    ],
)  # fmt: skip
def test_nothing_that_is_typed_breaks_it(boss, brand, values):
    for path in ("draw/", "draw/mail/"):
        assert boss.post(f"{URL}{path}", form(**values)).status_code == 200


def test_only_whom_the_user_may_see_is_found_and_shown(boss, client, brand, make_contact):
    person = make_contact(first_name="Eva", last_name="Nová")
    assert [one["id"] for one in boss.post(f"{URL}people/", {"q": "nov eva"}).json()["people"]] == [person.pk]
    assert boss.post(f"{URL}people/", {"q": " "}).json()["people"] == []
    Contact.objects.filter(pk=person.pk).update(merged_into=make_contact())
    assert boss.post(f"{URL}people/", {"q": "nov eva"}).json()["people"] == []
    assert "Hello you" in boss.post(f"{URL}draw/", form(contact=person.pk)).json()["text"]


def test_the_plain_form_works_without_script(boss, brand, newsletter):
    page = boss.get(f"{URL}add/").content.decode()
    assert 'name="body"' in page and 'name="translations"' in page and "<mail-editor" in page
    told = form(topic=newsletter.pk, translations=json.dumps({"cs": {"body": json.dumps(HELLO)}}))
    assert boss.post(f"{URL}add/", told).status_code == 302
    template = Template.objects.get(key="n")
    assert json.loads(template.variants["cs"]["body"]) == HELLO and template.utm == {}
    refused = boss.post(
        f"{URL}{template.pk}/change/", told | {"body": '[{"kind": "picture", "url": "https://a.cz/x"}]'}
    )
    assert "blocks[0].alt: Say in words what the picture shows" in refused.content.decode()


def test_script_in_what_people_write_never_becomes_markup_of_the_admin(boss, brand, make_template):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    ReusableBlock.objects.create(key="evil", name=evil, body_format="markdown", body="x")
    Field.objects.create(key="evil", name=evil, type="text")
    template = make_template(
        name=evil, subject=evil, body_format="blocks", body=json.dumps([{"kind": "text", "text": evil}])
    )
    for url in (f"{URL}{template.pk}/change/", f"{URL}{template.pk}/preview/"):
        page = boss.get(url).content.decode()
        assert "<script>alert" not in page and "<img src=x" not in page


# Values --------------------------------------------------------------------------------------------------------------


def test_values_that_may_be_missing_ask_for_a_fallback(db):
    Field.objects.create(key="plan", name="Plan", type="text")
    offered = {one["path"]: one["is_always"] for group in chips.groups() for one in group["fields"]}
    assert offered["contact.first_name"] is False and offered["contact.email"] is True
    assert offered["contact.plan"] is False and offered["links.preferences"] is True and "offer.name" in offered


# Reusable blocks -----------------------------------------------------------------------------------------------------


def test_a_change_shows_in_mail_that_is_not_frozen_yet(make_template, make_message, signature, send, smtp_sink, now):
    template = make_template(body_format="blocks", body=json.dumps(WITH_SIGNATURE))
    assert "Yours, Eva" in sample(template=template, contact=None, language="en", now=now).text
    first = make_message(template=template)
    send()
    ReusableBlock.objects.update(body="Best, Ann")
    second = make_message(template=template)
    send()
    first.refresh_from_db()
    second.refresh_from_db()
    assert "Yours, Eva" in rendered(first).text and "Best, Ann" in rendered(second).text
    assert TemplateVersion.objects.filter(template=template).count() == 2


def test_one_in_use_is_not_deleted_and_its_users_are_named(boss, make_template, signature):
    template = make_template(
        name="Welcome", body_format="blocks", body=json.dumps(HELLO),
        translations={"cs": {"body": json.dumps([{"kind": "divider"}, WITH_SIGNATURE[1]])}},
    )  # fmt: skip
    assert users_of_reusable("signature") == ["template “Welcome”"]
    url = f"/admin/messaging/reusableblock/{signature.pk}/"
    assert "template “Welcome”" in boss.get(f"{url}change/").content.decode()
    assert "template “Welcome”" in boss.get(f"{url}delete/").content.decode()
    boss.post(f"{url}delete/", {"post": "yes"})
    boss.post(
        "/admin/messaging/reusableblock/",
        {"action": "delete_selected", "_selected_action": signature.pk, "post": "yes"},
    )
    assert ReusableBlock.objects.exists()
    Template.objects.filter(pk=template.pk).update(translations={})
    boss.post(f"{url}delete/", {"post": "yes"})
    assert not ReusableBlock.objects.exists()


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"body": " "}, "body", "no text"),
        ({"body": "{{ contact.x }}"}, "body", "may be missing"),
        ({"body": "[x](javascript:x)"}, "body", "must begin with"),
        ({"body_format": "blocks", "body": "{"}, "body", "no JSON"),
        ({"body_format": "blocks", "body": json.dumps([WITH_SIGNATURE[1]])}, "body", "holds no other"),
        ({"translations": {"cs": "x"}}, "translations", "Write them as"),
        ({"translations": {"cs": {"body": "{% if %}"}}}, "translations", "cs: "),
    ],
)
def test_a_reusable_block_that_no_mail_could_show_is_refused(signature, values, field, words):
    for name, value in values.items():
        setattr(signature, name, value)
    with pytest.raises(ValidationError) as error:
        signature.full_clean()
    assert words in " ".join(error.value.message_dict[field])


def test_one_that_is_not_there_is_an_error_that_names_it(make_template):
    template = make_template(body_format="blocks", body=json.dumps(WITH_SIGNATURE))
    with pytest.raises(ValidationError, match="no reusable block 'signature'"):
        template.full_clean()


def test_fields_in_blocks_are_in_use(make_template, signature):
    block = {"kind": "text", "text": 'Your {{ contact.plan | default: "plain" }}', "show_if": 'contact.tier == "gold"'}
    make_template(name="A", body_format="blocks", body=json.dumps([block]))
    ReusableBlock.objects.filter(pk=signature.pk).update(body="{{ contact.seats | default: 1 }}")
    for key, user in [("plan", "template “A”"), ("tier", "template “A”"), ("seats", "reusable block “Signature”")]:
        assert user in users_of_field(key), key
    assert not users_of_field("gold") and not users_of_field("plain")


# As code -------------------------------------------------------------------------------------------------------------

CODE = """
topics: [{key: newsletter, name: News, opt: out}]
utm: {source: acme, medium: email, campaign: "{journey}", content: "{template}", hosts: [shop.acme.example]}
reusable_blocks:
  - {key: signature, body: "Yours, *Eva*", translations: {cs: {body: "Vaše Eva"}}}
  - key: address
    name: Where we are
    blocks: [{kind: divider}, {kind: text, text: "Brno:\\n\\n- centre"}]
templates:
  - key: hello
    class: marketing
    topic: newsletter
    subject: Hello
    preheader: First words
    utm: {campaign: spring}
    blocks:
      - {kind: heading, text: 'Hello {{ contact.first_name | default: "you" }}', level: "2"}
      - {kind: text, text: "Some words:\\n\\n- one \\n- „dva“ ", show_if: 'contact.country == "CZ"'}
      - {kind: picture, url: "https://acme.example/a.png", alt: 'no "quotes"', width: 300}
      - {kind: columns, columns: [[{kind: text, text: yes}], [{kind: button, text: Go, link: "https://acme.example/"}]]}
      - {kind: social, links: [{name: Mastodon, url: "https://m.example/@a"}]}
      - {kind: spacer, height: 40}
      - {kind: reusable, key: signature}
    translations:
      cs: {subject: Ahoj, blocks: [{kind: text, text: "Český text"}]}
"""


def apply(text):
    return as_code.apply([as_code.read(text)], now=timezone.now())


def test_blocks_go_out_and_in_byte_identically(brand):
    apply(CODE)
    first = as_code.write(as_code.export())
    template = Template.objects.get(key="hello")
    assert json.loads(template.body)[1]["text"] == "Some words:\n\n- one \n- „dva“ "
    assert [one for one in problems_of(template) if one.is_unsendable] == []
    exported = yaml.safe_load(first)
    assert exported["templates"][0]["blocks"][0]["kind"] == "heading"
    assert exported["templates"][0]["translations"]["cs"]["blocks"] == [{"kind": "text", "text": "Český text"}]
    assert exported["utm"]["hosts"] == ["shop.acme.example"]
    body = template.body
    assert {change.what for change in apply(first)} == {"unchanged"}
    assert as_code.write(as_code.export()) == first
    template.refresh_from_db()
    assert template.body == body


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("kind: divider", "kind: shout", "blocks[0].kind"),
        ('width: 300', 'width: wide', "blocks[2].width"),
        ("alt: 'no \"quotes\"', ", "", "blocks[2].alt"),
        ('text: "Český text"', 'text: ""', "translations.cs.blocks[0].text"),
        ("campaign: spring", "campaign: '{x}'", "utm"),
        ('campaign: "{journey}"', 'campaign: "{x}"', "campaign"),
        ("subject: Ahoj, blocks", "subject: Ahoj, body", "translations.cs.body"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_told_with_its_path(brand, old, new, path):
    assert old in CODE
    with pytest.raises(DefinitionError) as caught:
        apply(CODE.replace(old, new))
    assert path in str(caught.value)
    assert not Template.objects.exists()


def test_reusable_blocks_are_read_over_rest(client, admin_user, signature):
    _token, secret = tokens.issue(user=admin_user, scopes=["read"], now=timezone.now())
    one = client.get("/api/v1/reusable_blocks/signature/", headers={"Authorization": f"Bearer {secret}"}).json()
    assert one["body"] == "Yours, Eva" and one["translations"] == {"cs": {"body": "Vaše Eva"}}
