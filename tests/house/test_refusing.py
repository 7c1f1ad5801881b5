"""A NUL in an address, which PostgreSQL cannot even compare, is never an error of ours."""

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from contacts import tokens

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss(db):
    return User.objects.create_superuser("boss")


@pytest.mark.parametrize(
    "address",
    [
        "/admin/contacts/contact/?stage=%00",
        "/admin/contacts/contact/?stage__exact=a%00b",
        "/admin/contacts/contact/?%00=1",
        "/admin/contacts/contact/?q=%00",
        "/admin/contacts/contact/a%00b/change/",
        "/admin/contacts/contact/_00/change/",
        "/admin/%00/",
        "/admin/login/?next=%00",
        "/admin/autocomplete/?app_label=contacts&model_name=contact&field_name=company&term=%00",
        "/%00",
        "/v1/projects/%00/settings",
    ],
)
def test_a_page_survives_a_nul_in_its_address(client, boss, address):
    client.force_login(boss)
    assert client.get(address).status_code in {200, 302, 400, 404}


@pytest.mark.parametrize(
    "address",
    [
        "/api/v1/segments/%00/members/",
        "/api/v1/segments/a%00/",
        "/api/v1/contacts/?email=%00",
        "/api/v1/contacts/?cursor=%00",
        "/api/v1/touchpoints/?kind=a%00b",
        "/api/v1/changes/?after=0&kinds=%00",
        "/api/v1/changes/?after=%00",
        "/api/v1/changes/?%00=0",
    ],
)
def test_the_api_refuses_a_nul(client, boss, address):
    _token, secret = tokens.issue(user=boss, scopes=["admin"], now=timezone.now())
    answer = client.get(address, headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code in {400, 404}
    assert answer.json()["title"]
