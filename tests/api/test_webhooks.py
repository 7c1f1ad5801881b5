"""Outgoing webhooks: what happens reaches other systems at least once, signed, and one that hangs hinders nobody."""

import json
import threading
from datetime import timedelta

import pytest
import requests
from django.utils import timezone
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from contacts import merging, outward, stream, webhooks
from contacts.erasure import erase
from contacts.models import ApiToken, Contact, IdempotencyKey, StepCursor, Touchpoint, Webhook, WebhookDelivery
from contacts.stream import put
from journey_crm.tick import tick
from tests.partner import Partner

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def private_network(settings):
    """Our partners live on this machine."""
    settings.WEBHOOK_ALLOW_PRIVATE = True


@pytest.fixture
def partner():
    with Partner() as partner:
        yield partner


@pytest.fixture
def moment():
    """The wall clock: the other side refuses what was signed on another day."""
    return timezone.now()


def endpoint(partner, **values) -> Webhook:
    return Webhook.objects.create(
        **{
            "name": "CRM",
            "url": partner.url,
            "secret": webhooks.make_secret(),
            "succeeded_at": timezone.now(),
            **values,
        }
    )


def happen(now, count=1, kind="order.placed", source="shop", **values) -> list[Touchpoint]:
    """Touchpoints of a new person, told to the endpoints by their step."""
    contact = values.pop("contact", None) or Contact.objects.create(email=f"p{Contact.objects.count()}@example.com")
    rows = [
        Touchpoint(contact=contact, kind=kind, source=source, occurred_at=now, received_at=now, **values)
        for _number in range(count)
    ]
    rows = Touchpoint.objects.bulk_create(rows)
    stream.run_step(stream.Step("webhooks", webhooks.tell), now)
    assert not StepCursor.objects.filter(step="webhooks").exclude(error="").exists()
    return rows


def deliver(moment) -> int:
    return webhooks.deliver(clock=lambda: moment)


# The outbox ----------------------------------------------------------------------------------------------------------


def test_it_tells_each_touchpoint_once_signed_and_with_a_thin_payload(partner, moment):
    hook = endpoint(partner)
    private = {
        "number": "A-1",
        "ip": "203.0.113.9",
        "context": {"ip": "203.0.113.9", "user_agent": "x", "locale": "cs"},
    }
    [touchpoint] = happen(moment, properties=private)
    assert deliver(moment) == 1
    [call] = partner.calls
    told = Verifier(hook.secret).verify(call.body, call.headers)
    assert told["type"] == "order.placed"
    assert told["data"] == {
        "id": touchpoint.pk,
        "contact": touchpoint.contact_id,
        "channel": "",
        "source": "shop",
        "is_machine": False,
        "properties": {"number": "A-1", "context": {"locale": "cs"}},
    }
    assert call.headers["content-type"] == "application/json"
    assert call.id == f"evt_{hook.pk}_{touchpoint.pk}"
    delivery = WebhookDelivery.objects.get()
    assert (delivery.state, delivery.status_code, delivery.attempts) == ("delivered", 200, 1)
    assert deliver(moment) == 0


def test_the_signature_is_over_the_raw_body_and_no_other_key_makes_it(partner, moment):
    hook = endpoint(partner)
    happen(moment)
    deliver(moment)
    [call] = partner.calls
    with pytest.raises(WebhookVerificationError):
        Verifier(webhooks.make_secret()).verify(call.body, call.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(hook.secret).verify(call.body + b" ", call.headers)


def test_what_we_sign_is_what_the_published_library_signs(moment):
    secret, body = webhooks.make_secret(), b'{"test": 2432232314}'
    ours = webhooks.sign([secret], "msg_1", int(moment.timestamp()), body)
    assert ours == Verifier(secret).sign("msg_1", moment, body.decode())


def test_a_step_put_back_to_0_and_run_again_tells_nothing_twice(partner, moment):
    endpoint(partner)
    happen(moment, count=3)
    StepCursor.objects.filter(step="webhooks").update(position=0)
    stream.run_step(stream.Step("webhooks", webhooks.tell), moment)
    assert WebhookDelivery.objects.count() == 3


def test_an_endpoint_gets_the_kinds_it_asked_for(partner, moment):
    hook = endpoint(partner, kinds=["order.placed", "lead.*"])
    for kind in ("order.placed", "order.paid", "lead.qualified", "lead.claimed", "leads.made"):
        happen(moment, kind=kind)
    assert list(hook.deliveries.order_by("pk").values_list("kind", flat=True)) == [
        "order.placed", "lead.qualified", "lead.claimed",
    ]  # fmt: skip


def test_a_long_payload_is_left_for_whoever_fetches_it(partner, moment):
    hook = endpoint(partner)
    happen(moment, properties={"text": "x" * 20_000})
    assert hook.deliveries.get().payload["data"]["properties"] is None


def test_the_tick_tells_what_it_took_in(partner, moment):
    hook = endpoint(partner, kinds=["page.viewed"])
    put(kind="page.viewed", source="web", now=moment, anonymous_id="a-1")
    done = tick(moment)
    assert done["webhooks"] == 1
    assert hook.deliveries.get().payload["type"] == "page.viewed"


def test_erasing_a_person_takes_away_what_was_told_of_them(partner, moment):
    hook = endpoint(partner)
    happen(moment)
    [other] = happen(moment)
    deliver(moment)
    erase(Contact.objects.exclude(pk=other.contact_id).get(), by=None, now=moment)
    assert list(hook.deliveries.values_list("contact", flat=True)) == [other.contact_id]


def test_what_waits_for_somebody_merged_away_is_told_of_whom_they_became(partner, moment):
    hook = endpoint(partner)
    [first], [second] = happen(moment), happen(moment)
    merging.merge(survivor=first.contact, loser=second.contact, reason="hand", now=moment)
    assert set(hook.deliveries.values_list("contact", flat=True)) == {first.contact_id}


# Retries -------------------------------------------------------------------------------------------------------------


def test_three_times_500_and_then_200_is_one_id_and_one_body(partner, moment):
    endpoint(partner)
    answers = iter([500, 500, 500, 200])
    partner.on_call = lambda call: next(answers)
    happen(moment)
    for _attempt in range(4):
        deliver(moment)
        moment += timedelta(hours=1)
    assert len(partner.calls) == 4
    assert len(set(partner.ids())) == 1
    assert len({call.body for call in partner.calls}) == 1
    delivery = WebhookDelivery.objects.get()
    assert (delivery.state, delivery.attempts, delivery.error) == ("delivered", 4, "")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422])
def test_a_final_refusal_is_not_tried_again(partner, moment, status):
    endpoint(partner)
    partner.on_call = lambda call: (status, {}, b"no such thing")
    happen(moment)
    for _day in range(3):
        deliver(moment)
        moment += timedelta(days=1)
    assert len(partner.calls) == 1
    delivery = WebhookDelivery.objects.get()
    assert (delivery.state, delivery.error) == ("refused", f"HTTP {status} no such thing")


@pytest.mark.parametrize("status", [301, 302, 307, 408, 409, 425, 429, 500, 502, 503])
def test_anything_else_is_tried_again_and_no_redirect_is_followed(partner, moment, status):
    endpoint(partner)
    with Partner() as elsewhere:
        answers = iter([(status, {"Location": elsewhere.url}, b"")])
        partner.on_call = lambda call: next(answers, 200)
        happen(moment)
        deliver(moment)
        assert WebhookDelivery.objects.get().state == "waiting"
        deliver(moment + timedelta(seconds=10))
        assert elsewhere.calls == []
    assert len(partner.calls) == 2
    assert WebhookDelivery.objects.get().state == "delivered"


def test_retry_after_is_honoured(partner, moment):
    endpoint(partner)
    partner.on_call = lambda call: (429, {"Retry-After": "300"}, b"")
    happen(moment)
    deliver(moment)
    assert timedelta(seconds=299) < WebhookDelivery.objects.get().due_at - moment < timedelta(seconds=330)


def test_it_gives_up_after_about_a_day(partner, moment):
    endpoint(partner)
    partner.on_call = lambda call: 500
    happen(moment)
    begun = moment
    for _attempt in range(100):
        delivery = WebhookDelivery.objects.get()
        if delivery.finished_at:
            break
        moment = max(delivery.due_at, Webhook.objects.get().retry_at or moment)
        deliver(moment)
    assert delivery.state == "failed"
    assert delivery.attempts == len(partner.calls) == len(webhooks.WAITS) + 1
    assert timedelta(hours=15) < delivery.finished_at - begun < timedelta(hours=33)


def test_a_worker_that_died_loses_nothing(partner, moment):
    endpoint(partner)
    happen(moment)
    assert webhooks._claim(moment) is not None  # and then it was killed
    assert deliver(moment) == 0
    assert deliver(moment + webhooks.LEASE) == 1
    assert len(partner.calls) == 1


def test_two_workers_never_take_the_same(partner, moment):
    endpoint(partner)
    happen(moment, count=40)
    one, two = webhooks._claim(moment), webhooks._claim(moment)
    assert (len(one.parcels), len(two.parcels)) == (25, 15)
    assert not {parcel.id for parcel in one.parcels} & {parcel.id for parcel in two.parcels}


def test_a_worker_that_lost_its_lease_writes_nothing(partner, moment):
    hook = endpoint(partner)
    happen(moment)
    late = webhooks._claim(moment)
    deliver(moment + webhooks.LEASE)
    outcome = webhooks.Outcome(late.parcels[0], "waiting", 500, "too late")
    webhooks._settle(late, [outcome], moment + webhooks.LEASE)
    assert hook.deliveries.get().state == "delivered"


# The breaker ---------------------------------------------------------------------------------------------------------


def test_the_breaker_opens_lets_trials_through_and_closes_with_the_first_success(partner, moment):
    hook = endpoint(partner)
    happen(moment, count=30)
    partner.on_call = lambda call: 500
    for _second in range(10):
        deliver(moment)
    hook.refresh_from_db()
    assert (hook.failures, hook.status) == (webhooks.BREAKS_AFTER, "open")
    assert len(partner.calls) == webhooks.BREAKS_AFTER
    # A trial that fails opens it for longer.
    first = hook.retry_at
    deliver(first)
    hook.refresh_from_db()
    assert len(partner.calls) == webhooks.BREAKS_AFTER + 1
    assert hook.retry_at - first > (first - moment) * 1.1
    # One that succeeds closes it, and everything goes out.
    partner.on_call = lambda call: 200
    deliver(hook.retry_at)
    hook.refresh_from_db()
    assert (hook.failures, hook.status, hook.failing_since) == (0, "working", None)
    assert hook.deliveries.filter(state="waiting").count() <= webhooks.BREAKS_AFTER + 1  # those that were tried
    deliver(moment + timedelta(hours=2))
    assert hook.deliveries.exclude(state="delivered").count() == 0
    assert len(set(partner.ids())) == 30


def test_an_endpoint_that_fails_for_days_is_switched_off_and_what_waits_goes_out_when_it_is_on_again(partner, moment):
    hook = endpoint(partner, failures=9, failing_since=moment - timedelta(days=3, minutes=1), retry_at=moment)
    happen(moment, count=2)
    partner.on_call = lambda call: 503
    deliver(moment)
    hook.refresh_from_db()
    assert (hook.is_active, hook.disabled_reason) == (False, "failing")
    happen(moment)  # nothing is put aside for it meanwhile
    partner.on_call = lambda call: 200
    deliver(moment + timedelta(hours=2))
    assert len(partner.calls) == 1
    hook.switch_on()
    deliver(moment + timedelta(hours=2))
    assert sorted(hook.deliveries.values_list("state", flat=True)) == ["delivered", "delivered"]


def test_410_switches_an_endpoint_off(partner, moment):
    hook = endpoint(partner)
    partner.on_call = lambda call: 410
    happen(moment, count=3)
    deliver(moment)
    hook.refresh_from_db()
    assert (hook.is_active, hook.disabled_reason, len(partner.calls)) == (False, "gone", 1)
    assert sorted(hook.deliveries.values_list("state", flat=True)) == ["refused", "waiting", "waiting"]


def test_one_endpoint_that_hangs_delays_no_other(partner, moment):
    """The healthy one gets all of its 1,000 events while the other still holds each call that it got."""
    hanging_ends = threading.Event()
    with Partner() as hanging:
        hanging.on_call = lambda call: hanging_ends.wait(30) and 500
        endpoint(hanging, name="hangs")
        healthy = endpoint(partner, name="healthy")
        held = []

        def answer(call):
            if len(partner.calls) >= 1000:
                held.append(len(hanging.calls))
                hanging_ends.set()
            return 200

        partner.on_call = answer
        happen(moment, count=1000)
        deliver(moment)
        assert hanging_ends.is_set(), "the healthy one waited for the other"
        assert len(set(partner.ids())) == healthy.deliveries.filter(state="delivered").count() == 1000
        assert held[0] <= webhooks.LINES
        assert partner.connections <= 1000 / webhooks.SIZE + webhooks.LINES, "a connection is kept for many events"


def test_many_endpoints_that_hang_leave_a_line_for_a_healthy_one(partner, moment):
    hanging_ends = threading.Event()
    with Partner() as hanging:
        hanging.on_call = lambda call: hanging_ends.wait(30) and 500
        for number in range(webhooks.LINES_IN_ALL - 1):
            endpoint(hanging, name=f"hangs {number}", succeeded_at=None)
        endpoint(partner, name="healthy")
        partner.on_call = lambda call: (len(partner.calls) >= 50 and hanging_ends.set()) or 200
        happen(moment, count=50)
        deliver(moment)
        assert hanging_ends.is_set()


def test_a_drip_of_bytes_ends_in_time_and_a_huge_answer_is_not_read(partner, moment, monkeypatch):
    monkeypatch.setattr(outward, "ANSWER_SECONDS", 0.5)
    hook = endpoint(partner)
    happen(moment)

    def drip(call):
        for _never in range(100):
            yield_.wait(0.2)
        return 200

    yield_ = threading.Event()
    partner.on_call = drip
    deliver(moment)
    yield_.set()
    assert "TimeoutError" in hook.deliveries.get().error
    partner.on_call = lambda call: (200, {}, b"x" * 10_000_000)
    deliver(moment + timedelta(minutes=1))
    assert hook.deliveries.get().state == "delivered"


# Secrets, tests, once more -------------------------------------------------------------------------------------------


def test_two_secrets_sign_while_one_takes_over_from_the_other(partner, moment):
    hook = endpoint(partner)
    old = hook.secret
    new = webhooks.rotate(hook, now=moment)
    happen(moment)
    deliver(moment)
    [call] = partner.calls
    assert [Verifier(key).verify(call.body, call.headers)["type"] for key in (old, new)] == ["order.placed"] * 2
    assert len(call.headers["webhook-signature"].split()) == 2
    happen(moment)
    late = moment + webhooks.OVERLAP
    assert hook.living_secrets(late) == [new]


def test_a_test_event_goes_at_once_and_through_an_open_breaker(partner, moment):
    hook = endpoint(partner, kinds=["order.placed"])
    happen(moment, count=3)
    hook.note_failure("HTTP 500", moment + timedelta(hours=1), moment)
    assert deliver(moment) == 0
    test = webhooks.send_test(hook, now=moment)
    assert deliver(moment) == 4
    assert partner.ids()[0] == test.event_id
    assert partner.calls[0].event["type"] == "webhook.tested"


def test_what_was_given_up_goes_again_under_its_id(partner, moment):
    hook = endpoint(partner)
    partner.on_call = lambda call: 400
    happen(moment)
    deliver(moment)
    partner.on_call = lambda call: 200
    assert webhooks.send_again(hook.deliveries.all(), now=moment) == 1
    assert deliver(moment) == 1
    assert len(set(partner.ids())) == 1 and len(partner.calls) == 2


def test_old_deliveries_are_forgotten_and_those_that_wait_are_not(partner, moment):
    hook = endpoint(partner)
    happen(moment)
    deliver(moment)
    happen(moment)
    assert webhooks.forget(now=moment + timedelta(days=13)) == 0
    assert webhooks.forget(now=moment + timedelta(days=15)) == 1
    assert hook.deliveries.get().state == "waiting"
    assert webhooks.forget(now=moment + timedelta(days=31)) == 1


def test_health_counts_what_waits_and_what_is_broken(client, partner, moment):
    endpoint(partner, name="open", failures=5, failing_since=moment, retry_at=moment + timedelta(hours=1))
    endpoint(partner, name="off").switch_off("failing", moment)
    happen(moment)
    assert webhooks.counts(moment) == {"waiting": 1, "failed_in_a_day": 0, "open_breakers": 1, "switched_off": 1}
    assert client.get("/health/").json()["webhooks"]["open_breakers"] == 1


# The loop guard ------------------------------------------------------------------------------------------------------


def test_a_system_is_not_told_what_it_told_us_itself(partner, moment):
    hook = endpoint(partner, origin="crm", kinds=["contact.updated"])
    for source in ("sync:crm", "rest:crm", "rest:crm2", "admin", "sync:other-crm", "crm"):
        happen(moment, kind="contact.updated", source=source)
    told = [delivery.payload["data"]["source"] for delivery in hook.deliveries.order_by("pk")]
    assert told == ["rest:crm2", "admin", "sync:other-crm", "crm"]


@pytest.mark.parametrize(("origin", "source"), [("1", "segment:1"), ("shop", "form:shop"), ("7", "import:7")])
def test_a_system_hears_of_what_only_looks_like_its_own_words(partner, moment, origin, source):
    hook = endpoint(partner, origin=origin, kinds=["contact.updated"])
    happen(moment, kind="contact.updated", source=source)
    assert hook.deliveries.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("origin", ["crm", ""])
def test_one_edit_and_a_partner_that_mirrors_everything_is_at_most_two_webhooks(
    partner, live_server, client, admin, bearer, origin
):
    """R-29: our webhook → their system → our sync API → our webhook. They also write names in their own way."""
    hook = endpoint(partner, kinds=["contact.updated"], origin=origin)
    headers = bearer(admin, "admin")
    ApiToken.objects.update(origin=origin)
    contact = client.post(
        "/api/v1/contacts/", {"email": "ann@shop.example"}, content_type="application/json", headers=headers
    ).json()
    tick(timezone.now())
    WebhookDelivery.objects.all().delete()

    def mirror(call):
        url = f"{live_server.url}/api/v1/contacts/"
        ours = requests.get(f"{url}{call.event['data']['contact']}/", headers=headers, timeout=10).json()
        theirs = {"email": ours["email"], "first_name": ours["first_name"].upper(), "last_name": ours["last_name"]}
        assert requests.post(f"{url}bulk/", json=[theirs], headers=headers, timeout=10).status_code == 200
        return 200

    partner.on_call = mirror
    colleague = bearer(admin, "admin")
    client.patch(
        f"/api/v1/contacts/{contact['id']}/", {"first_name": "Ann"}, content_type="application/json", headers=colleague
    )
    for _turn in range(10):
        tick(timezone.now())
        deliver(timezone.now())
    assert len(partner.calls) == (1 if origin else 2)
    assert hook.deliveries.exclude(state="delivered").count() == 0
    assert Contact.objects.get(pk=contact["id"]).first_name == "ANN"


# REST ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def call(client, admin, bearer):
    headers = bearer(admin, "admin")

    def call(method, path, data=None, **more):
        return client.generic(
            method,
            f"/api/v1/webhooks/{path}",
            json.dumps(data or {}),
            content_type="application/json",
            headers={**headers, **more},
        )

    return call


def test_rest_makes_an_endpoint_shows_its_secret_once_and_never_again(call, partner):
    made = call("POST", "", {"name": "CRM", "url": partner.url, "kinds": ["lead.*"], "origin": "crm"})
    assert made.status_code == 201
    secret = made.json()["secret"]
    assert secret.startswith("whsec_") and Webhook.objects.get().secret == secret
    number = made.json()["id"]
    for path in ("", f"{number}/", f"{number}/deliveries/"):
        answer = call("GET", path)
        assert answer.status_code == 200
        assert b"secret" not in answer.content and b"whsec" not in answer.content
    changed = call("POST", f"{number}/rotate/")
    assert changed.json()["secret"] not in (secret, "")
    assert call("PATCH", f"{number}/", {"name": "New"}).json()["name"] == "New"
    assert call("DELETE", f"{number}/").status_code == 204


def test_a_secret_is_not_kept_for_who_asks_again_with_the_same_key(call, partner):
    key = {"Idempotency-Key": "once"}
    told = {"name": "CRM", "url": partner.url}
    made, repeated = call("POST", "", told, **key), call("POST", "", told, **key)
    assert made.json()["secret"].startswith("whsec_")
    assert repeated.headers["Idempotent-Replayed"] == "true"
    assert repeated.json() == made.json() | {"secret": ""}
    path, key = f"{made.json()['id']}/rotate/", {"Idempotency-Key": "twice"}
    rotated, again = call("POST", path, **key), call("POST", path, **key)
    assert again.json() == rotated.json() | {"secret": ""}
    assert Webhook.objects.get().secret == rotated.json()["secret"]
    assert all(b"whsec" not in bytes(one.body) for one in IdempotencyKey.objects.all())


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "http://partner.example/"}, "url"),
        ({"kinds": ["everything"]}, "kinds"),
        ({"kinds": "order.placed"}, "kinds"),
        ({"origin": "no slug"}, "origin"),
        ({"name": ""}, "name"),
        ({"secret": "whsec_mine"}, "secret"),
        ({"made_by": 1}, "made_by"),
    ],
)
def test_rest_refuses_a_wrong_endpoint_by_its_field(call, settings, wrong, field):
    settings.WEBHOOK_ALLOW_PRIVATE = False
    answer = call("POST", "", {"name": "CRM", "url": "https://partner.example/", **wrong})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"].partition("[")[0] == field


def test_rest_tests_an_endpoint_shows_what_became_of_it_and_sends_it_again(call, partner, moment):
    hook = endpoint(partner)
    test = call("POST", f"{hook.pk}/test/")
    assert test.status_code == 202
    deliver(timezone.now())
    [shown] = call("GET", f"{hook.pk}/deliveries/?state=delivered").json()["results"]
    assert (shown["event_id"], shown["kind"]) == (test.json()["event_id"], "webhook.tested")
    assert call("POST", f"{hook.pk}/again/", {"deliveries": [shown["id"]]}).json() == {"waiting": 1}
    assert call("POST", f"{hook.pk}/again/", {}).status_code == 400
    assert call("GET", f"{hook.pk}/deliveries/?state=lost").status_code == 400
    off = call("PATCH", f"{hook.pk}/", {"is_active": False}).json()
    assert (off["status"], off["disabled_reason"]) == ("off", "by_hand")
    assert call("POST", f"{hook.pk}/test/").status_code == 409
    hook.refresh_from_db()
    assert call("PATCH", f"{hook.pk}/", {"is_active": True}).json()["status"] == "working"


def test_somebody_elses_delivery_is_not_sent_again_by_the_wrong_endpoint(call, partner, moment):
    one, other = endpoint(partner, name="one"), endpoint(partner, name="other", kinds=["none.such"])
    happen(moment)
    deliver(moment)
    delivery = one.deliveries.get()
    assert call("POST", f"{other.pk}/again/", {"deliveries": [delivery.pk]}).json() == {"waiting": 0}


# The screen ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def boss(client, admin):
    client.force_login(admin)
    return client


def test_the_screen_makes_an_endpoint_and_shows_the_secret_once(boss, partner):
    url = "/admin/contacts/webhook/"
    page = boss.post(
        f"{url}add/", {"name": "CRM", "url": partner.url, "kinds": "order.placed, lead.*", "origin": ""}, follow=True
    )
    hook = Webhook.objects.get()
    assert hook.kinds == ["order.placed", "lead.*"]
    assert hook.secret in page.content.decode()
    for path in (url, f"{url}{hook.pk}/change/"):
        assert hook.secret not in boss.get(path).content.decode()


def test_the_screen_refuses_a_private_address_and_a_wrong_kind(boss, settings):
    settings.WEBHOOK_ALLOW_PRIVATE = False
    page = boss.post("/admin/contacts/webhook/add/", {"name": "CRM", "url": "https://10.0.0.1/", "kinds": "all"})
    assert set(page.context["adminform"].form.errors) == {"url", "kinds"}


def test_the_screen_tests_sends_again_and_switches_on_what_was_switched_off(boss, partner, moment):
    hook = endpoint(partner)
    page, act = f"/admin/contacts/webhook/{hook.pk}/change/", f"/admin/contacts/webhook/{hook.pk}/act/"
    boss.post(act, {"act": "test"})
    deliver(timezone.now())
    assert "webhook.tested" in boss.get(page).content.decode()
    partner.on_call = lambda call: (404, {}, b"<script>alert(1)</script>")
    happen(moment)
    deliver(moment)
    shown = boss.get(page).content.decode()
    assert "&lt;script&gt;alert(1)" in shown and "<script>alert(1)" not in shown
    boss.post(act, {"act": f"again:{hook.deliveries.get(state='refused').pk}"})
    assert hook.deliveries.filter(state="waiting").count() == 1
    hook.refresh_from_db()
    hook.switch_off("failing", moment)
    assert "it failed for days" in boss.get(page).content.decode()
    assert hook.name in boss.get("/admin/").content.decode()
    boss.post(page, {"name": "CRM", "url": partner.url, "kinds": "", "origin": "", "is_active": "on"})
    hook.refresh_from_db()
    assert (hook.status, hook.disabled_at) == ("working", None)
    boss.post(page, {"name": "CRM", "url": partner.url, "kinds": "", "origin": ""})
    hook.refresh_from_db()
    assert (hook.status, hook.disabled_reason) == ("off", "by_hand")
    old = hook.secret
    shown = boss.post(act, {"act": "rotate"}, follow=True).content.decode()
    hook.refresh_from_db()
    assert hook.secret != old and hook.secret in shown
