"""Every route of the API × everybody who may come: a route without an expectation fails."""

import re

import pytest
from django.urls import get_resolver

from contacts.models import ApiToken

pytestmark = pytest.mark.django_db

# Who gets through, beside the administrator with the scope admin, whom all of them admit: `read` is an administrator's
# token with the scope read, `rep` a sales rep's with the scopes sync and read. Nobody gets 401, a write key 403.
EXPECTED = {
    "GET activities/": "read rep",
    "GET activities/{id}/": "read rep",
    "PATCH activities/{id}/": "rep",
    "DELETE activities/{id}/": "rep",
    "GET changes/": "read rep",
    "GET companies/": "read",
    "POST companies/": "",
    "GET companies/{id}/": "read",
    "GET companies/{id}/contacts/": "read",
    "POST companies/{id}/merge/": "",
    "PUT companies/{id}/": "",
    "PATCH companies/{id}/": "",
    "GET consents/": "read rep",
    "POST consents/": "",
    "GET consents/{id}/": "read rep",
    "GET contacts/": "read rep",
    "POST contacts/": "",
    "POST contacts/bulk/": "",
    "GET contacts/export/": "read",
    "GET contacts/{id}/": "read rep",
    "PUT contacts/{id}/": "",
    "PATCH contacts/{id}/": "",
    "DELETE contacts/{id}/": "",
    "GET contacts/{id}/explain/": "read rep",
    "POST contacts/{id}/limits/": "",
    "GET contacts/{id}/merge/": "read",
    "POST contacts/{id}/merge/": "",
    "POST contacts/{id}/merge/{merge_id}/undo/": "",
    "GET contacts/{id}/merges/": "read",
    "GET contacts/{id}/person/": "",
    "GET contacts/{id}/proof/": "read",
    "GET contacts/{id}/timeline/": "read rep",
    "GET enrolments/": "read",
    "GET enrolments/{id}/": "read",
    "GET fields/": "read",
    "POST fields/": "",
    "GET fields/{key}/": "read",
    "PUT fields/{key}/": "",
    "PATCH fields/{key}/": "",
    "DELETE fields/{key}/": "",
    "POST fields/{key}/fit/": "read",
    "GET fields/traits/": "read",
    "GET journeys/": "read",
    "GET journeys/{key}/": "read",
    "GET journeys/{key}/occasions/": "read",
    "POST journeys/": "",
    "POST journeys/{key}/archive/": "",
    "POST journeys/{key}/clone/": "",
    "GET journeys/{key}/draft/": "read",
    "PUT journeys/{key}/draft/": "",
    "POST journeys/{key}/enrol/": "",
    "GET journeys/{key}/impact/": "read",
    "POST journeys/{key}/impact/": "read",
    "POST journeys/{key}/pause/": "",
    "POST journeys/{key}/publish/": "",
    "POST journeys/{key}/redo/": "",
    "POST journeys/{key}/resume/": "",
    "GET journeys/{key}/results/": "read",
    "POST journeys/{key}/rollback/": "",
    "POST journeys/{key}/undo/": "",
    "GET journeys/{key}/versions/": "read",
    "GET grades/": "read",
    "GET grades/{key}/": "read",
    "GET leads/": "read rep",
    "GET leads/{id}/": "read rep",
    "PATCH leads/{id}/": "rep",
    "POST leads/{id}/accept/": "rep",
    "GET leads/{id}/activities/": "read rep",
    "POST leads/{id}/assign/": "rep",
    "POST leads/{id}/call/": "rep",
    "POST leads/{id}/claim/": "rep",
    "POST leads/{id}/convert/": "rep",
    "POST leads/{id}/hold/": "rep",
    "POST leads/{id}/note/": "rep",
    "POST leads/{id}/reject/": "rep",
    "POST leads/{id}/release/": "rep",
    "POST leads/{id}/snooze/": "rep",
    "POST leads/{id}/undo/": "rep",
    "POST leads/{id}/unhold/": "rep",
    "POST leads/{id}/unsnooze/": "rep",
    "GET leads/report/": "read",
    "GET messages/": "read rep",
    "GET messages/{id}/": "read rep",
    "GET offers/": "read",
    "GET offers/{key}/": "read",
    "GET orders/": "read",
    "POST orders/": "",
    "POST orders/bulk/": "",
    "GET orders/{id}/": "read",
    "GET products/": "read",
    "GET products/{key}/": "read",
    "GET reusable_blocks/": "read",
    "GET reusable_blocks/{key}/": "read",
    "GET predictions/": "read rep",
    "GET predictions/{id}/": "read rep",
    "GET predictions/{id}/why/": "read rep",
    "GET predictions/model/": "read",
    "GET scores/": "read rep",
    "GET scores/backtest/": "read",
    "GET scores/{id}/": "read rep",
    "GET scores/{id}/waterfall/": "read rep",
    "POST scores/what-if/": "read",
    "GET segments/": "read",
    "POST segments/": "",
    "GET segments/{key}/": "read",
    "PUT segments/{key}/": "",
    "PATCH segments/{key}/": "",
    "DELETE segments/{key}/": "",
    "GET segments/{key}/members/": "read",
    "POST segments/{key}/members/": "",
    "POST segments/{key}/members/release/": "",
    "POST segments/{key}/members/remove/": "",
    "GET segments/{key}/preview/": "read",
    "POST segments/{key}/preview/": "read",
    "GET stage_changes/": "read rep",
    "POST stage_changes/": "",
    "GET stage_changes/{id}/": "read rep",
    "GET stages/": "read",
    "GET tasks/": "read rep",
    "POST tasks/": "rep",
    "GET tasks/{id}/": "read rep",
    "POST tasks/{id}/done/": "rep",
    "POST tasks/{id}/reopen/": "rep",
    "GET templates/": "read",
    "GET templates/{key}/": "read",
    "GET templates/{key}/clicks/": "read",
    "GET touchpoints/": "read rep",
    "GET touchpoints/{id}/": "read rep",
    "GET webhooks/": "read",
    "POST webhooks/": "",
    "GET webhooks/{id}/": "read",
    "PUT webhooks/{id}/": "",
    "PATCH webhooks/{id}/": "",
    "DELETE webhooks/{id}/": "",
    "GET webhooks/{id}/deliveries/": "read",
    "POST webhooks/{id}/again/": "",
    "POST webhooks/{id}/rotate/": "",
    "POST webhooks/{id}/test/": "",
}
# The administrator may do all; these are pages for everybody.
PUBLIC = {"/api/schema/", "/api/docs/"}


def routes(patterns=None, prefix=""):
    """Each address under /api/ with the methods it takes."""
    for one in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(one.pattern)
        if hasattr(one, "url_patterns"):
            yield from routes(one.url_patterns, path)
        elif path.startswith("api/"):
            address = "/" + re.sub(r"[\^$?]|\\Z", "", re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", path))
            actions = getattr(one.callback, "actions", None) or {"get": ""}
            yield address, sorted(method.upper() for method in actions if method != "head")


def calls():
    for address, methods in routes():
        for method in methods:
            yield method, address


@pytest.fixture
def who(admin, rep, bearer):
    return {
        "track": bearer(admin, "track"),
        "read": bearer(admin, "read"),
        "rep": bearer(rep, "sync", "read"),
        "admin": bearer(admin, "admin"),
    }


def ask(client, method, address, headers):
    path = re.sub(r"\{\w+\}", "999999", address)
    return client.generic(method, path, b"{}", content_type="application/json", headers=headers or {}).status_code


def test_every_route_admits_exactly_whom_it_should(client, who):
    found, broken = {}, []
    for method, address in calls():
        if address in PUBLIC:
            assert ask(client, method, address, None) == 200, address
            continue
        name = f"{method} {address.removeprefix('/api/v1/').replace('{pk}', '{id}')}"
        statuses = {person: ask(client, method, address, headers) for person, headers in who.items()}
        if ask(client, method, address, None) != 401 or statuses["track"] != 403 or statuses["admin"] in {401, 403}:
            broken.append((name, statuses))
        if any(status >= 500 for status in statuses.values()):
            broken.append((name, statuses))
        found[name] = " ".join(person for person in ("read", "rep") if statuses[person] not in {401, 403})
    assert broken == []
    assert found == EXPECTED


def test_every_view_names_real_scopes_and_permissions(django_user_model):
    from django.contrib.auth.models import Permission

    permissions = {
        f"{one.content_type.app_label}.{one.codename}" for one in Permission.objects.select_related("content_type")
    }
    views = {one.callback.cls for one in all_patterns() if hasattr(one.callback, "actions")}
    assert len(views) > 5
    for view in views:
        for name, need in view.needs.items():
            scope, *rest = need.split()
            assert scope in ApiToken.SCOPES, (view, name)
            assert scope == "read" or rest, f"{view.__name__}.{name} writes and asks for no permission"
            assert set(rest) <= permissions, (view, name)


def all_patterns(patterns=None):
    for one in get_resolver().url_patterns if patterns is None else patterns:
        if hasattr(one, "url_patterns"):
            yield from all_patterns(one.url_patterns)
        else:
            yield one


def test_methods_that_a_route_does_not_take_are_405_and_unknown_addresses_404(client, who):
    assert ask(client, "DELETE", "/api/v1/contacts/", who["admin"]) == 405
    answer = client.get("/api/v1/nothing/", headers=who["admin"])
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


def test_the_documents_show_no_internal_field(client):
    text = client.get("/api/schema/").content.decode()
    for word in ("digest", "password", "merged_into", "synced_at", "request_digest", "previous_secret"):
        assert word not in text, word
    page = client.get("/api/docs/").content.decode()
    assert "/api/v1/contacts/bulk/" in page
    assert "<script" not in page
    assert " style=" not in page
