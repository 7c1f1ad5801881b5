"""The screens of merges: find the other one, see what it would do, merge, and undo; only for whoever may."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from contacts import syncing
from contacts.models import Contact, Merge
from journey_crm.tick import tick

pytestmark = pytest.mark.django_db


@pytest.fixture
def two() -> list[Contact]:
    now = datetime.now(UTC)
    rows = [
        {"email": "ann@x.example", "first_name": "Ann", "last_name": "Lee", "phone": "777123456"},
        {"email": "lee@x.example", "first_name": "Ann", "last_name": "Lee", "job_title": "<b>CFO</b>"},
    ]
    people = [Contact.objects.get(pk=one["id"]) for one in syncing.upsert(rows, source="test", now=now)]
    tick(now)
    return people


def client_of(name: str, *permissions: str) -> Client:
    user = User.objects.create_user(name, is_staff=True, is_superuser=not permissions)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="contacts", codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_a_marketer_finds_looks_merges_and_undoes(two):
    ann, lee = two
    boss = client_of("boss")
    contact_page = f"/admin/contacts/contact/{lee.pk}/change/"
    merge_page = f"/admin/contacts/contact/{lee.pk}/merge/"
    assert merge_page in boss.get(contact_page).content.decode()
    # Who has the same name is proposed; anybody else is found by words or handles.
    for words in ({}, {"q": "ann@X.example"}, {"q": "777 123 456"}, {"q": str(ann.pk)}):
        assert f"?other={ann.pk}" in boss.get(merge_page, words).content.decode(), words
    look = boss.get(merge_page, {"other": ann.pk}).content.decode()
    assert "&lt;b&gt;CFO" in look
    assert "<b>CFO" not in look
    assert Merge.objects.count() == 0
    answer = boss.post(merge_page, {"other": ann.pk, "reason": "same telephone"})
    assert answer["Location"] == f"/admin/contacts/contact/{ann.pk}/change/"
    log = Merge.objects.get()
    assert (log.survivor, log.loser, log.reason, log.merged_by.username) == (ann, lee, "same telephone", "boss")
    assert "same telephone" in boss.get("/admin/contacts/merge/").content.decode()
    assert "Undo this merge" in boss.get(f"/admin/contacts/merge/{log.pk}/change/").content.decode()
    boss.post(f"/admin/contacts/merge/{log.pk}/undo/")
    log.refresh_from_db()
    assert log.undone_by.username == "boss"
    assert "Undone by boss" in boss.get(f"/admin/contacts/merge/{log.pk}/change/").content.decode()
    lee.refresh_from_db()
    assert (lee.merged_into, lee.job_title) == (None, "<b>CFO</b>")
    assert "undone already" in boss.post(f"/admin/contacts/merge/{log.pk}/undo/", follow=True).content.decode()


def test_whoever_may_not_end_a_contact_merges_and_undoes_nothing(two):
    ann, lee = two
    boss = client_of("boss")
    boss.post(f"/admin/contacts/contact/{lee.pk}/merge/", {"other": ann.pk})
    log = Merge.objects.get()
    weak = client_of("weak", "view_contact", "change_contact", "view_merge")
    assert f"/contact/{ann.pk}/merge/" not in weak.get(f"/admin/contacts/contact/{ann.pk}/change/").content.decode()
    assert weak.get(f"/admin/contacts/contact/{ann.pk}/merge/").status_code == 403
    assert weak.post(f"/admin/contacts/contact/{ann.pk}/merge/", {"other": lee.pk}).status_code == 403
    page = weak.get(f"/admin/contacts/merge/{log.pk}/change/")
    assert page.status_code == 200
    assert "Undo this merge" not in page.content.decode()
    assert weak.post(f"/admin/contacts/merge/{log.pk}/undo/").status_code == 403
    log.refresh_from_db()
    assert log.undone_at is None
    assert client_of("blind", "view_company").get("/admin/contacts/merge/").status_code == 403


def test_nonsense_in_the_address_is_told_and_does_nothing(two):
    ann, _lee = two
    boss = client_of("boss")
    page = f"/admin/contacts/contact/{ann.pk}/merge/"
    for other in (str(ann.pk), "999999", "x" * 50, "-1", "٣"):
        assert boss.get(page, {"other": other}).status_code == 200
        assert boss.post(page, {"other": other}).status_code in (200, 302)
    assert boss.get("/admin/contacts/contact/999999/merge/").status_code == 404
    assert boss.post("/admin/contacts/merge/999999/undo/").status_code == 404
    assert not Merge.objects.exists()
