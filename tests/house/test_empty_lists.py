"""A list that is empty says in one sentence what belongs there and why."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

pytestmark = pytest.mark.django_db

LISTS = {
    "contacts/webhook": "A webhook tells another system",
    "contacts/merge": "When two contacts turn out to be one person",
    "contacts/export": "Whoever takes contacts out as a file",
    "contacts/erasure": "Whoever asks to be forgotten",
    "contacts/retentionrule": "A retention rule drops old touchpoints",
    "contacts/trait": "When a site or an app tells more about people than there are fields for",
    "scoring/scoremodel": "A score adds up what people do or who they are",
    "scoring/gradematrix": "A grade reads two scores together",
    "messaging/suppression": "An address comes here by itself when mail comes back",
    "messaging/returnedmail": "Bounces and complaints are read by themselves",
    "messaging/brake": "all marketing waits until",
    "messaging/signupform": "A sign-up form lets people ask for your topics",
}


@pytest.fixture
def boss():
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


@pytest.mark.parametrize("where", LISTS)
def test_it_says_what_belongs_there(boss, where):
    assert LISTS[where] in boss.get(f"/admin/{where}/").content.decode()


@pytest.mark.parametrize("where", ["contacts/webhook", "contacts/merge"])
def test_a_search_that_finds_nothing_is_no_empty_list(boss, where):
    page = boss.get(f"/admin/{where}/?q=nobody").content.decode()
    assert "Nothing matches." in page and LISTS[where] not in page
