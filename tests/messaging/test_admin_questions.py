"""What stands behind the question mark of the admin's pages may be anything."""

import pytest
from django.contrib.auth import get_user_model
from django.urls import reverse


@pytest.fixture
def marketer(client, db):
    client.force_login(get_user_model().objects.create_superuser("marketer", password="x"))
    return client


@pytest.mark.parametrize("name", ["contact", "language"])
def test_a_nul_in_the_address_of_a_preview_finds_nobody(marketer, make_template, name):
    template = make_template()
    page = marketer.get(reverse("admin:messaging_template_preview", args=[template.pk]), {name: "a\0@b.cz"})
    assert page.status_code == 200
    assert ("There is no such contact." in page.content.decode()) == (name == "contact")
    mail = marketer.get(reverse("admin:messaging_template_preview_mail", args=[template.pk]), {name: "a\0@b.cz"})
    assert mail.status_code == (404 if name == "contact" else 200)


@pytest.mark.parametrize("model", ["template", "message", "suppression", "topic"])
@pytest.mark.parametrize(
    "name",
    [
        "q",
        "state",
        "class",
        "reason",
        "message_class",
        "message_class__exact",
        "message_class__in",
        "key",
        "p",
        "o",
        "e",
    ],
)
def test_a_nul_in_a_filter_of_a_list_is_no_error_of_ours(marketer, make_message, model, name):
    make_message()
    page = marketer.get(reverse(f"admin:messaging_{model}_changelist"), {name: "a\0b"}, follow=True)
    assert page.status_code == 200
