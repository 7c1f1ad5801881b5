"""Calls to addresses that people typed in never reach our own network, whatever the address is made of."""

import socket
import ssl
import subprocess
import threading

import pytest

from contacts import outward
from tests.partner import Partner

EVIL = [
    "http://partner.example/hook",
    "ftp://partner.example/",
    "file:///etc/passwd",
    "gopher://partner.example/",
    "javascript:alert(1)",
    "//partner.example/",
    "partner.example/hook",
    "",
    "https://",
    "https:///path",
    "https://user@partner.example/",
    "https://user:password@partner.example/",
    "https://partner.example@127.0.0.1/",
    "https://partner.example:22/",
    "https://partner.example:80/",
    "https://partner.example:6379/",
    "https://partner.example:99999/",
    "https://partner.example:-1/",
    "https://localhost/",
    "https://localhost./",
    "https://LOCALHOST/",
    "https://db/",
    "https://printer.local/",
    "https://api.internal/",
    "https://metadata.google.internal/",
    "https://foo.localhost/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://127.0.0.1./",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://0/",
    "https://0.0.0.0/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://100.64.0.1/",
    "https://100.100.100.200/",
    "https://168.63.129.16/",
    "https://192.0.0.192/",
    "https://198.18.0.1/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:7f00:1::]/",
    "https://[::1/",
    "https://partner.example/\r\nHost: other",
    "https://partner.example/ path",
    "https://partner.example\\@127.0.0.1/",
    "https://127.0.0.1%2f@partner.example/",
    "https://①②⑦.⓪.⓪.①/",
    "https://pаrtner.example/",
    "https://partner.example/\x00",
    "https://partner.example/" + "x" * 3000,
]


@pytest.mark.parametrize("url", EVIL)
def test_an_evil_address_is_refused_when_it_is_typed_in(url):
    with pytest.raises(outward.Forbidden) as refusal:
        outward.parse(url)
    assert str(refusal.value).endswith(".")


@pytest.mark.parametrize(
    "url",
    [
        "https://partner.example/hook",
        "https://partner.example",
        "https://partner.example:8443/hook?key=1",
        "https://hooks.partner.example./a/b",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]/",
        "https://xn--hkyrky-ptac70bc.example/",
    ],
)
def test_an_honest_address_is_taken(url):
    assert outward.parse(url).scheme == "https"


def test_what_a_call_asks_for_is_the_path_and_nothing_else():
    target = outward.parse("https://partner.example:8443/a/b?c=d#part")
    assert (target.host, target.port, target.path) == ("partner.example", 8443, "/a/b?c=d")
    assert target.authority == "partner.example:8443"
    assert outward.parse("https://[2606:4700:4700::1111]").authority == "[2606:4700:4700::1111]"


# When we connect -----------------------------------------------------------------------------------------------------


@pytest.fixture
def resolver(monkeypatch):
    """`resolver["name"] = [addresses]`: what a name leads to; each look-up takes the next list. Numbers are as ever."""
    answers: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def look_up(host, port, *args, **kwargs):
        if host not in answers:
            return real(host, port, *args, **kwargs)
        addresses = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return answers


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.1.1", "0.0.0.0"),
        *("::1", "::ffff:127.0.0.1", "fe80::1", "fd00::1"),
    ],
)
def test_a_name_that_leads_into_our_network_is_not_connected_to(resolver, address):
    resolver["evil.example"] = [[address]]
    with pytest.raises(outward.Forbidden):
        outward.Line(outward.parse("https://evil.example/")).post(b"{}", {})


def test_a_name_that_changes_its_mind_after_the_check_gains_nothing(resolver, monkeypatch):
    """DNS rebinding: first a public address, then ours. There is one look-up, and its answer is what we connect to."""
    resolver["evil.example"] = [["93.184.216.34"], ["127.0.0.1"]]
    reached = []

    def connect(address, timeout):
        reached.append(address)
        raise ConnectionRefusedError("not in this test")

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(ConnectionRefusedError):
        outward.Line(outward.parse("https://evil.example/")).post(b"{}", {})
    assert reached == [("93.184.216.34", 443)]


def test_of_a_name_with_good_and_bad_addresses_only_the_good_are_called(resolver, monkeypatch):
    resolver["mixed.example"] = [["127.0.0.1", "93.184.216.34", "::1"]]
    reached = []

    def connect(address, timeout):
        reached.append(address)
        raise ConnectionRefusedError("not in this test")

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(ConnectionRefusedError):
        outward.Line(outward.parse("https://mixed.example/")).post(b"{}", {})
    assert reached == [("93.184.216.34", 443)]


def called(url: str) -> int:
    line = outward.Line(outward.parse(url))
    try:
        return line.post(b"{}", {}).status
    finally:
        line.close()


def test_a_proxy_of_the_environment_is_not_asked(settings, monkeypatch):
    settings.WEBHOOK_ALLOW_PRIVATE = True
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Partner() as partner:
        assert called(partner.url) == 200


def test_a_line_is_kept_over_calls_and_made_anew_when_the_other_side_hung_up(settings):
    settings.WEBHOOK_ALLOW_PRIVATE = True
    with Partner() as partner:
        line = outward.Line(outward.parse(partner.url))
        assert [line.post(b"{}", {}).status for _call in range(3)] == [200] * 3
        assert partner.connections == 1
        partner.on_call = lambda call: (200, {"Connection": "close"}, b"")
        assert [line.post(b"{}", {}).status for _call in range(2)] == [200] * 2
        assert partner.connections == 2


def test_a_server_that_speaks_no_http_is_an_error_and_nothing_worse(settings):
    settings.WEBHOOK_ALLOW_PRIVATE = True
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            wire, _address = server.accept()
            wire.recv(1000)
            wire.sendall(b"-ERR unknown command\r\n")
            wire.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(Exception, match="ERR"):
            outward.Line(outward.parse(f"http://127.0.0.1:{server.getsockname()[1]}/")).post(b"{}", {})


def test_the_certificate_must_be_that_of_the_name(settings, resolver, monkeypatch, tmp_path):
    settings.WEBHOOK_ALLOW_PRIVATE = True
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=partner.example",
         "-addext", "subjectAltName=DNS:partner.example", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    resolver["partner.example"] = resolver["other.example"] = [["127.0.0.1"]]
    with Partner() as partner:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        partner._server.socket = context.wrap_socket(partner._server.socket, server_side=True)
        port = partner._server.server_port
        with pytest.raises(ssl.SSLCertVerificationError):  # nobody vouches for it yet
            outward.Line(outward.parse(f"https://partner.example:{port}/")).post(b"{}", {})
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert called(f"https://partner.example:{port}/") == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            outward.Line(outward.parse(f"https://other.example:{port}/")).post(b"{}", {})
