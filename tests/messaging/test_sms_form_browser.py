"""The form of a template counts an SMS while it is written."""

import pytest
from django.contrib.auth import get_user_model
from django.urls import reverse
from playwright.sync_api import expect

from messaging.models import Template, Topic
from tests.browser import log_in

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_sms_is_counted_while_it_is_written(page, live_server):
    user = get_user_model().objects.create_superuser("lenka", password="x")
    template = Template.objects.create(
        key="code", channel="sms", body_format="text", body="Your code is 1234", message_class="transactional",
        topic=Topic.objects.create(key="t", name="T"),
    )  # fmt: skip
    log_in(page, user)
    page.goto(reverse("admin:messaging_template_change", args=[template.pk]))
    count = page.locator("#sms-count")
    expect(count).to_have_text("17 characters (GSM-7): 1 of at most 6 parts")
    page.fill("#id_body", "Váš kód je 1234" + "ř" * 60)
    expect(count).to_have_text("75 characters (UCS-2): 2 of at most 6 parts")
    page.fill("#id_body", "{{ contact.first_name")
    expect(count).to_contain_text("Line 1")
    page.select_option("#id_channel", "email")
    expect(count).to_be_hidden()


def test_who_may_not_see_templates_counts_nothing(client, db):
    client.force_login(get_user_model().objects.create_user("rep", is_staff=True))
    assert client.post(reverse("admin:messaging_template_count"), {"body": "x"}).status_code == 403
