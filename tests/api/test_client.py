"""The Python client of the documentation, against the live server."""

import importlib.util
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from django.utils import timezone
from standardwebhooks import Webhook as Signer

from contacts import tokens, webhooks
from contacts.models import Contact
from journey_crm.settings import ROOT
from journey_crm.tick import tick

FILE = ROOT / "clients" / "python" / "journey_crm_client.py"


@pytest.fixture(scope="module")
def client_module():
    spec = importlib.util.spec_from_file_location("journey_crm_client", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def crm(client_module, transactional_db, live_server, admin):
    _token, secret = tokens.issue(user=admin, scopes=["admin"], now=timezone.now())
    return client_module.Client(live_server.url, secret, sleep=lambda seconds: None)


def people(count):
    return ({"user_id": f"u-{n}", "email": f"p{n}@shop.example", "first_name": "Ann"} for n in range(count))


def test_it_brings_people_in_lists_them_over_pages_and_changes_one(crm, client_module):
    results = list(crm.upsert(people(1_203), size=500))
    assert {one["status"] for one in results} == {"created"}
    assert [one["index"] for one in results] == list(range(1_203))
    assert {one["status"] for one in crm.upsert(people(3))} == {"unchanged"}
    assert len({one["email"] for one in crm.contacts()}) == 1_203
    [found] = crm.contacts(email="p7@shop.example")
    contact, etag = crm.contact(found["id"])
    assert crm.change(contact["id"], {"first_name": "Eva"}, etag)["first_name"] == "Eva"
    with pytest.raises(client_module.Problem) as refusal:
        crm.change(contact["id"], {"first_name": "Ida"}, etag)
    assert refusal.value.status == 412


def test_it_says_which_field_of_which_row_was_refused(crm, client_module):
    [result] = crm.upsert([{"email": "nobody"}])
    assert (result["status"], result["errors"][0]["field"]) == ("rejected", "email")
    with pytest.raises(client_module.Problem) as refusal:
        crm.call("POST", "contacts/", {"email": "a@shop.example", "shoe_size": 43})
    assert [one["field"] for one in refusal.value.errors] == ["shoe_size"]


def test_it_follows_the_feed_of_changes_without_a_gap_or_a_double(crm):
    list(crm.upsert(people(700)))
    tick(timezone.now())
    pages = list(crm.changes(kinds=["contact.created"]))
    assert len(pages) == 2
    seen = [one["id"] for page, _after in pages for one in page]
    assert len(seen) == 700 and seen == sorted(set(seen))
    after = pages[-1][1]
    assert list(crm.changes(after, kinds=["contact.created"])) == []
    list(crm.upsert([{"email": "late@shop.example"}]))
    tick(timezone.now())
    [(page, _after)] = crm.changes(after, kinds=["contact.created"])
    assert [one["contact"] for one in page] == [Contact.objects.get(email="late@shop.example").pk]


def test_a_lost_answer_is_asked_for_again_and_nothing_is_done_twice(crm, client_module, live_server):
    """A proxy that loses the first answer to everything: the repeat gets the kept answer, not a second effect."""
    seen = []

    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = requests.post(live_server.url + self.path, data=body, headers=dict(self.headers), timeout=10)
            seen.append((self.headers["Idempotency-Key"], answer.headers.get("Idempotent-Replayed")))
            if len(seen) == 1:
                self.connection.close()
                return
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    crm.url = f"http://127.0.0.1:{server.server_port}"
    made, _headers = crm.call("POST", "contacts/", {"email": "ann@shop.example"})
    server.shutdown()
    server.server_close()
    assert len({key for key, _replayed in seen}) == 1
    assert [replayed for _key, replayed in seen] == [None, "true"]
    assert Contact.objects.get(email="ann@shop.example").pk == made["id"]


def test_it_gives_its_token_to_nobody_else(crm):
    with pytest.raises(ValueError, match="token stays here"):
        crm.call("GET", "https://elsewhere.example/api/v1/contacts/")


# Webhooks ------------------------------------------------------------------------------------------------------------


def signed(secret, body, at, event_id="evt_1_2"):
    return {
        "Webhook-Id": event_id,
        "Webhook-Timestamp": str(int(at)),
        "Webhook-Signature": webhooks.sign([secret], event_id, int(at), body),
    }


def test_it_knows_our_webhooks_and_those_of_the_published_library(client_module):
    secret, at, body = webhooks.make_secret(), time.time(), b'{"type": "order.placed"}'
    assert client_module.verify(body, signed(secret, body, at), [secret])["type"] == "order.placed"
    moment = timezone.now()
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": "v1,AAAA " + Signer(secret).sign("msg_1", moment, body.decode()),
    }
    assert client_module.verify(body, headers, [webhooks.make_secret(), secret])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda body, headers: (body + b" ", headers),
        lambda body, headers: (body, {**headers, "Webhook-Id": "evt_1_3"}),
        lambda body, headers: (body, {**headers, "Webhook-Timestamp": str(int(time.time()) - 3000)}),
        lambda body, headers: (body, {**headers, "Webhook-Timestamp": "yesterday"}),
        lambda body, headers: (body, {**headers, "Webhook-Signature": ""}),
        lambda body, headers: (body, {**headers, "Webhook-Signature": "v1,é"}),
        lambda body, headers: (body, {}),
    ],
)
def test_it_refuses_what_is_not_signed_or_not_of_this_moment(client_module, wrong):
    secret, body = webhooks.make_secret(), b"{}"
    body, headers = wrong(body, signed(secret, body, time.time()))
    with pytest.raises(client_module.BadSignature):
        client_module.verify(body, headers, [secret])
