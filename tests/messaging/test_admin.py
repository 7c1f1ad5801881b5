"""Sent mail and previews in the admin: shown as they left, and shut in."""

from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.urls import reverse

from campaigns import publishing
from campaigns.models import Enrolment, Journey
from contacts.models import Contact
from messaging.models import Brand, Message, Suppression, Template


@pytest.fixture
def marketer(client, db):
    user = get_user_model().objects.create_superuser("marketer", password="x")
    client.force_login(user)
    return client


def test_the_list_shows_what_went_out_and_why_not(marketer, make_message, make_contact, send, smtp_sink):
    make_message()
    make_message(make_contact(email=""))
    send()
    page = marketer.get(reverse("admin:messaging_message_changelist")).content.decode()
    assert "is-good" in page
    assert "There is no address: no e-mail address or, for an SMS, no telephone number." in page
    page = marketer.get(reverse("admin:messaging_message_changelist"), {"state": "skipped"}).content.decode()
    assert page.count("<tr") == 2


def test_doubtful_mails_are_pointed_at(marketer, make_message, now):
    make_message()
    Message.objects.update(state="uncertain")
    assert b"?state=uncertain" in marketer.get(reverse("admin:messaging_message_changelist")).content


def test_a_sent_mail_is_shown_as_it_left(marketer, make_message, make_contact, send, smtp_sink):
    message = make_message(make_contact(first_name="Žofie<b>"))
    send()
    Template.objects.update(subject="changed", body="changed")
    Brand.objects.update(name="Changed")
    message.contact.first_name = "changed"
    message.contact.save()
    page = marketer.get(reverse("admin:messaging_message_change", args=[message.pk])).content.decode()
    assert "Hello Žofie&lt;b&gt;" in page
    mail = marketer.get(reverse("admin:messaging_message_mail", args=[message.pk]))
    assert "Dear Žofie&lt;b&gt;" in mail.content.decode()
    assert "changed" not in mail.content.decode().lower()
    assert mail["Content-Security-Policy"].startswith("sandbox;")
    assert "https://acme.example/look" in mail.content.decode()


@pytest.mark.parametrize("state", ["pending", "ready", "sending", "skipped", "failed", "cancelled", "uncertain"])
def test_every_state_has_its_page(marketer, make_message, now, state):
    message = make_message()
    Message.objects.update(state=state, reason="refused" if state in ("skipped", "failed", "cancelled") else "",
                           lease_until=now)  # fmt: skip
    assert marketer.get(reverse("admin:messaging_message_change", args=[message.pk])).status_code == 200
    assert marketer.get(reverse("admin:messaging_message_mail", args=[message.pk])).status_code == 404


def test_a_template_is_shown_in_each_language_and_as_somebody(marketer, make_template, make_contact):
    template = make_template(translations={"cs": {"subject": "Ahoj {{ contact.first_name | default: 'příteli' }}"}})
    person = make_contact(first_name="Eva", language="cs")
    url = reverse("admin:messaging_template_preview", args=[template.pk])
    assert "Hello friend" in marketer.get(url).content.decode()
    assert "Ahoj příteli" in marketer.get(url, {"language": "cs"}).content.decode()
    assert "Ahoj Eva" in marketer.get(url, {"contact": person.pk}).content.decode()
    assert "Ahoj Eva" in marketer.get(url, {"contact": person.email}).content.decode()
    assert "There is no such contact." in marketer.get(url, {"contact": "99999"}).content.decode()
    mail = marketer.get(reverse("admin:messaging_template_preview_mail", args=[template.pk]), {"contact": person.pk})
    assert "Dear Eva" in mail.content.decode()
    assert mail["Content-Security-Policy"].startswith("sandbox;")


def test_strangers_see_none_of_it(client, make_message, make_template):
    message = make_message()
    client.force_login(get_user_model().objects.create_user("staff", password="x", is_staff=True))
    for name, pk in [
        ("message_change", message.pk),
        ("message_mail", message.pk),
        ("template_preview", message.template_id),
        ("template_preview_mail", message.template_id),
    ]:
        assert client.get(reverse(f"admin:messaging_{name}", args=[pk])).status_code == 403


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"body": "line\n{% if x %}"}, "body", "Line 2"),
        ({"body": "a\nb {{ contact.first_name }}"}, "body", "Line 2: contact.first_name may be missing"),
        ({"subject": "{{ contact.first_name | upcase }}"}, "subject", "may be missing"),
        ({"body": "[x](javascript:alert(1))"}, "body", "A link must begin with"),
        ({"body": "{% include 'x' %}"}, "body", "include"),
        ({"body_format": "blocks"}, "body", "blocks: This is no JSON."),
        ({"body_format": "mjml", "body": "no mjml"}, "body", "MJML must begin"),
        ({"body_format": "mjml", "body": "<mjml><mj-body><mj-raw><script>1</script></mj-raw></mj-body></mjml>"}, "body",
         "may not contain <script>"),
        ({"translations": {"cs": {"body": "{{ contact.x }}"}}}, "translations", "cs.body: Line 1"),
        ({"translations": {"cs": "text"}}, "translations", "Write them as"),
    ],
)  # fmt: skip
def test_what_could_not_be_sent_is_refused_at_save(make_template, values, field, words):
    template = make_template()
    for name, value in values.items():
        setattr(template, name, value)
    with pytest.raises(ValidationError) as error:
        template.full_clean()
    assert words in " ".join(error.value.message_dict[field])


def test_a_condition_covers_what_may_be_missing(make_template):
    make_template(body="{% if contact.plan %}You have {{ contact.plan }}.{% endif %} {{ contact.email }}").full_clean()


def test_a_word_that_we_do_not_use_is_pointed_out(marketer, make_template):
    template = make_template()
    Brand.objects.update(banned_words=["cheap"])
    form = {
        "name": "x", "channel": "email", "message_class": "marketing", "topic": template.topic_id, "language": "en",
        "subject": "s", "body_format": "markdown", "body": "So\ncheap!", "translations": "{}", "preheader": "",
            "quiet_hours": "default", "holdout": "0",
    }  # fmt: skip
    url = reverse("admin:messaging_template_change", args=[template.pk])
    page = marketer.post(url, form, follow=True).content.decode()
    assert "Line 2: we do not use the word “cheap”." in page


def test_the_brand_is_one_row(marketer, brand):
    response = marketer.get(reverse("admin:messaging_brand_changelist"))
    assert response["Location"] == reverse("admin:messaging_brand_change", args=[1])
    assert marketer.get(reverse("admin:messaging_brand_add")).status_code == 403
    assert marketer.get(reverse("admin:messaging_suppression_changelist")).status_code == 200
    assert marketer.get(reverse("admin:messaging_topic_changelist")).status_code == 200
    assert marketer.get(reverse("admin:messaging_template_changelist")).status_code == 200
    assert marketer.get(reverse("admin:messaging_sendingpolicy_changelist")).status_code == 302


@pytest.mark.parametrize(
    ("written", "stored"),
    [("  Person@Example.COM ", "person@example.com"), ("Ann@Bücher.example", "ann@xn--bcher-kva.example")],
)
def test_an_address_suppressed_by_hand_gets_no_mail_however_it_is_written(
    marketer, make_message, make_contact, smtp_sink, send, now, written, stored
):
    page = reverse("admin:messaging_suppression_add")
    marketer.post(page, {"address": written, "reason": "manual", "detail": ""})
    assert Suppression.objects.get().address == stored
    message = make_message(make_contact(email=stored))
    assert send() == 0
    message.refresh_from_db()
    assert (message.state, message.reason) == ("skipped", "suppressed")
    again = marketer.post(page, {"address": stored.upper(), "reason": "manual", "detail": ""})
    assert "address" in again.context["adminform"].form.errors
    assert Suppression.objects.count() == 1


def test_what_is_no_address_can_not_be_suppressed(marketer):
    answer = marketer.post(reverse("admin:messaging_suppression_add"), {"address": "ann", "reason": "manual"})
    assert "This is not an e-mail address" in answer.content.decode()


def test_the_database_takes_no_suppression_that_would_stop_nothing(db):
    with pytest.raises(IntegrityError), transaction.atomic():
        Suppression.objects.create(address="Person@Example.com", reason="manual")


def test_addresses_suppressed_before_are_brought_into_one_form(db):
    constraint = next(one for one in Suppression._meta.constraints if one.name.startswith("suppressed"))
    with connection.schema_editor() as editor:
        editor.remove_constraint(Suppression, constraint)
    Suppression.objects.create(address="ann@example.com", reason="unsubscribed")
    Suppression.objects.create(address=" Ann@Example.com", reason="bounced")
    Suppression.objects.create(address="Eva@Bücher.example", reason="manual")
    Suppression.objects.create(address="No Address", reason="manual")
    migration = import_module("messaging.migrations.0005_suppressed_addresses_are_normalised")
    migration.normalise_addresses(apps, None)
    assert set(Suppression.objects.values_list("address", "reason")) == {
        ("ann@example.com", "bounced"),
        ("eva@xn--bcher-kva.example", "manual"),
        ("no address", "manual"),
    }
    with connection.schema_editor() as editor:
        editor.add_constraint(Suppression, constraint)


def test_a_template_that_somebody_needs_is_not_deleted_and_its_users_are_named(marketer, make_template, now):
    draft, live, left, free = (make_template(key=key) for key in ("draft", "live", "left", "free"))
    one = Journey.objects.create(key="j", name="Welcome", kind="onboarding")
    for key in ("left", "live", "draft"):
        definition = {"key": "j", "name": "Welcome", "kind": "onboarding", "trigger": "manual"}
        publishing.save_draft(journey=one, definition=definition | {"steps": [{"send": key}]}, by=None, now=now)
        one.refresh_from_db()
        if key != "draft":
            publishing.publish(journey=one, by=None, now=now)
            one.refresh_from_db()
    # Somebody who is still inside finishes the version that she began.
    inside = one.versions.get(number=1)
    person = Contact.objects.create(email="inside@example.com")
    enrolment = Enrolment.objects.create(contact=person, journey=one, version=inside, enrolled_at=now)
    changelist = reverse("admin:messaging_template_changelist")
    for template in (draft, live, left):
        page = reverse("admin:messaging_template_delete", args=[template.pk])
        assert "journey “Welcome”" in marketer.get(page).content.decode()
        marketer.post(page, {"post": "yes"})
    marked = [template.pk for template in (draft, live, left, free)]
    marketer.post(changelist, {"action": "delete_selected", "_selected_action": marked, "post": "yes"})
    assert Template.objects.count() == 4
    marketer.post(reverse("admin:messaging_template_delete", args=[free.pk]), {"post": "yes"})
    assert set(Template.objects.values_list("key", flat=True)) == {"draft", "live", "left"}
    enrolment.delete()
    marketer.post(reverse("admin:messaging_template_delete", args=[left.pk]), {"post": "yes"})
    assert set(Template.objects.values_list("key", flat=True)) == {"draft", "live"}
    publishing.archive(journey=one, by=None, now=now)
    marketer.post(reverse("admin:messaging_template_delete", args=[live.pk]), {"post": "yes"})
    assert set(Template.objects.values_list("key", flat=True)) == {"draft"}
