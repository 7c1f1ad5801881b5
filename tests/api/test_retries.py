"""A client that does not hear our answer sends again; nothing happens twice."""

import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
import segment.analytics.client as segment
from django.utils import timezone

from contacts.models import Contact, Touchpoint
from journey_crm.tick import tick


@pytest.fixture
def forgetful_proxy(live_server):
    """Passes every call on to us, and answers the first one with 503 as if our answer had been lost."""
    target = urlsplit(live_server.url).netloc
    calls: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            upstream = HTTPConnection(target)
            upstream.request("POST", self.path, body, {**self.headers, "Host": target})
            answer = upstream.getresponse()
            text = answer.read()
            calls.append(answer.status)
            self.send_response(503 if len(calls) == 1 else answer.status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", calls
    server.shutdown()
    server.server_close()


def test_the_stock_sdk_sends_again_and_nothing_is_doubled(forgetful_proxy, write_key):
    url, calls = forgetful_proxy
    errors: list = []
    sdk = segment.Client(write_key, host=url, on_error=lambda *args: errors.append(args), max_retries=3)
    sdk.identify("u42", {"email": "ann@shop.example"}, anonymous_id="py-1")
    sdk.track("u42", "Product Viewed", {"sku": "A1"})
    sdk.flush()
    sdk.join()

    assert errors == []
    assert len(calls) >= 2 and set(calls) == {200}, "the proxy lost one answer and the SDK sent again"
    tick(timezone.now())
    kinds = Touchpoint.objects.values_list("kind", flat=True)
    assert sorted(kinds) == [
        "contact.created", "contact.identified", "contact.updated", "product.viewed", "stage.changed",
    ]  # fmt: skip
    assert Contact.objects.living().count() == 1
