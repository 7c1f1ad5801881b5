"""Links in mails (D-19): what stood in the template is where a click leads, to the letter, and nowhere else."""

import re
from html import escape
from io import BytesIO

import pytest
from django.core.exceptions import ValidationError
from django.core.signals import request_started
from django.db import close_old_connections
from django.test import Client, override_settings

from journey_crm.wsgi import application
from messaging.models import Hit, Link

BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36"
# Each as it stands in the template; where a click leads, if no header can hold it as it is.
CORPUS = [
    ("https://acme.example/", None),
    ("https://acme.example", None),
    ("http://acme.example/plain", None),
    ("HTTPS://ACME.example/Upper", None),
    ("https://acme.example/?a=1&b=2&copy=3", None),
    ("https://acme.example/?q=a&amp;b", None),
    ("https://acme.example/?q=&lt;b&gt;&quot;", None),
    ("https://acme.example/page#part", None),
    ("https://acme.example/page#/route?x=1&y=2", None),
    ("https://acme.example/#", None),
    ("https://acme.example/a%2Fb?c=%20d", None),
    ("https://acme.example/%e4%bd%a0%E5%A5%BD", None),
    ("https://acme.example/100%25", None),
    ("https://acme.example/?url=https://evil.example/&next=//evil.example", None),
    ("https://acme.example/?url=https%3A%2F%2Fevil.example%2F%3Fx%3D1%26y%3D2", None),
    ("https://acme.example/go/https://other.example/?a=b#c", None),
    ("https://acme.example/a+b;c=d,e'f(g)!*", None),
    ("https://acme.example/x;jsessionid=1?y;z", None),
    ("https://acme.example/?q=a+b%2Bc", None),
    ("https://user@acme.example:8443/~x/$y?z=[1]", None),
    ("https://user:pa%40ss@acme.example/", None),
    ("https://acme.example:444/", None),
    ("http://127.0.0.1:8080/x", None),
    ("http://[2001:db8::1]:8080/x", None),
    ("http://acme.example/" + "x" * 1980, None),
    ("https://acme.example/?empty=&flag", None),
    ("https://acme.example/??a=?b", None),
    ("https://acme.example/?utm_source=mail&utm_medium=e-mail&utm_campaign=a_b", None),
    ("https://acme.example//double//slash", None),
    ("https://acme.example/../up/./here", None),
    ("https://acme.example/a|b^c`d{e}", None),
    ("https://acme.example/back\\slash", None),
    ("https://acme.example/~tilde_under-dash.dot", None),
    ("https://xn--bcher-kva.example/x", None),
    ("https://acme.example/?json={\"a\":[1,2]}", None),
    ("https://acme.example/ü?q=č#ř", "https://acme.example/%C3%BC?q=%C4%8D#%C5%99"),
    ("https://acme.example/ü%20x?a=1&b=%C4%8D", "https://acme.example/%C3%BC%20x?a=1&b=%C4%8D"),
    ("https://bücher.example/x", "https://xn--bcher-kva.example/x"),
    ("https://bücher.example:8443/ä b", "https://xn--bcher-kva.example:8443/%C3%A4%20b"),
    ("https://acme.example/a b?c=d e", "https://acme.example/a%20b?c=d%20e"),
    ("https://acme.example/😀", "https://acme.example/%F0%9F%98%80"),
    ("https://acme.example/你好", "https://acme.example/%E4%BD%A0%E5%A5%BD"),
]  # fmt: skip
NOT_TRACKED = ["mailto:sales@acme.example?subject=Hello%20you&cc=a@b.example", "tel:+420123456789", "#top"]


@pytest.fixture
def tracked(smtp_sink, make_message, make_template, send):
    """Sends a mail with these links to a real server; the hrefs of the mail that came, in their order."""

    def run(urls, **values):
        body = "".join(f'<a href="{escape(url)}">x{number}</a> ' for number, url in enumerate(urls))
        message = make_message(template=make_template(body_format="html", body=body, **values))
        assert send() == 1
        html = smtp_sink.mails[-1].body("html")
        found = [re.search(rf'href="([^"]*)"[^>]*>x{number}</a>', html)[1] for number in range(len(urls))]
        return message, found

    return run


def path_of(href):
    assert href.startswith("http://localhost:8000/t/c/"), href
    return href.removeprefix("http://localhost:8000")


def asked_in_front(path, query="", method="GET", body=b"", type=""):
    """What the web server's own application answers, before and without Django's test client."""
    said = {}

    def start(status, headers):
        said.update(status=int(status.split()[0]), headers=dict(headers))

    environ = Client()._base_environ(PATH_INFO=path, QUERY_STRING=query, REQUEST_METHOD=method, HTTP_USER_AGENT=BROWSER)
    environ |= {"HTTP_HOST": "localhost", "wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    environ["CONTENT_TYPE"] = type
    request_started.disconnect(close_old_connections)  # it would close the test's own
    try:
        answer = b"".join(application(environ, start))
    finally:
        request_started.connect(close_old_connections)
    return said["status"], said["headers"], answer


def test_the_corpus_has_forty_urls():
    assert len({url for url, _ in CORPUS}) >= 40


def test_every_url_of_the_corpus_leads_where_the_template_says(client, tracked):
    _, hrefs = tracked([url for url, _ in CORPUS])
    for (url, location), href in zip(CORPUS, hrefs, strict=True):
        response = client.get(path_of(href), headers={"user-agent": BROWSER})
        assert (response.status_code, response["Location"]) == (302, location or url)
        status, headers, _ = asked_in_front(path_of(href))
        assert (status, headers["Location"]) == (302, location or url), "the short way says the same"
    assert set(Link.objects.values_list("url", flat=True)) == {url for url, _ in CORPUS}, "kept to the letter"
    assert Hit.objects.count() == 2 * len(CORPUS)


def test_mail_and_telephone_links_stay_as_they_are(tracked):
    _, hrefs = tracked(NOT_TRACKED)
    assert [href.replace("&amp;", "&") for href in hrefs] == NOT_TRACKED
    assert not Link.objects.exists()


def test_what_the_request_adds_changes_nothing(client, tracked):
    _, [href] = tracked(["https://acme.example/a"])
    path = path_of(href)
    for query in ("url=https://evil.example/", "next=//evil.example", "link=2&u=http://evil.example", "#"):
        assert client.get(f"{path}?{query}")["Location"] == "https://acme.example/a"
        assert asked_in_front(path, query)[1]["Location"] == "https://acme.example/a"
    assert client.post(path, {"url": "https://evil.example"}).status_code == 405
    assert asked_in_front(path, method="POST")[0] in (403, 405)


def test_any_changed_byte_of_a_token_leads_nowhere_and_counts_nothing(client, tracked):
    _, [href] = tracked(["https://acme.example/a"])
    path, start = path_of(href), len("/t/c/")
    client.get(path)
    assert asked_in_front(path)[0] == 302
    for place in range(start, len(path)):
        for other in "AB-":
            if path[place] != other:
                changed = path[:place] + other + path[place + 1 :]
                assert asked_in_front(changed)[0] == 404, changed
    for changed in (path[:-1], path + "A", path + "=", path + "/", path + "%00", path[:start], f"{path}\u00e9"):
        assert asked_in_front(changed)[0] == 404, changed
    assert Hit.objects.count() == 2


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", " data:text/html,<b>", "vbscript:x",
     "file:///etc/passwd", "//evil.example/", "ftp://x.example/"],
)  # fmt: skip
def test_a_link_with_another_scheme_is_refused_at_save_and_is_not_followed(client, tracked, make_template, url):
    template = make_template(body_format="html", body=f"<a href='{escape(url)}'>x</a>")
    with pytest.raises(ValidationError) as refused:
        template.full_clean()
    assert list(refused.value.message_dict) == ["body"]
    _, [href] = tracked(["https://acme.example/a"])
    Link.objects.update(url=url)
    assert client.get(path_of(href)).status_code == 404
    assert asked_in_front(path_of(href))[0] == 404
    assert not Hit.objects.exists()


def test_a_token_of_another_purpose_is_worth_nothing_here(client, smtp_sink, tracked):
    tracked(["https://acme.example/a"])
    html = smtp_sink.mails[-1].body("html")
    pixel = re.search(r"/t/o/([\w-]+)\.gif", html)[1]
    click = re.search(r"/t/c/([\w-]+)", html)[1]
    person = re.search(r"/u/([\w-]+)/", html)[1]
    wrong = [f"/t/c/{pixel}", f"/t/c/{person}", f"/t/o/{click}.gif", f"/t/o/{person}.gif", f"/u/{pixel}/",
             f"/p/{pixel}/", f"/u/{click}/", f"/p/{click}/", f"/confirm/{click}/", f"/confirm/{pixel}/"]  # fmt: skip
    for path in wrong:
        assert client.get(path).status_code == 404, path
        assert client.post(path).status_code in (404, 405), path


def test_the_short_way_is_as_strict_as_the_long_one(client, smtp_sink, tracked):
    _, [href] = tracked(["https://acme.example/a"])
    pixel = re.search(r"(/t/o/[\w-]+\.gif)", smtp_sink.mails[-1].body("html"))[1]
    for path in (path_of(href), pixel):
        long = client.get(path)
        _, headers, body = asked_in_front(path)
        assert body == long.content
        missing = {name for name in long.headers if name not in headers}
        assert missing <= {"Vary", "Content-Language", "Content-Type", "Cross-Origin-Opener-Policy"}
        for name in ("Cache-Control", "Referrer-Policy", "X-Content-Type-Options", "X-Robots-Tag"):
            assert headers[name] == long[name], name
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
        assert "Set-Cookie" not in headers
    with override_settings(SECURE_HSTS_SECONDS=60):
        from messaging.front import Front

        assert ("Strict-Transport-Security", "max-age=60") in Front(application)._click


def test_the_answers_are_kept_by_no_cache(client, smtp_sink, tracked):
    _, [href] = tracked(["https://acme.example/a"])
    html = smtp_sink.mails[-1].body("html")
    person = re.search(r"/u/([\w-]+)/", html)[1]
    pixel = re.search(r"(/t/o/[\w-]+\.gif)", html)[1]
    for path in (path_of(href), pixel, f"/u/{person}/", f"/p/{person}/"):
        response = client.get(path)
        assert response["Cache-Control"] == "no-store", path
        assert response["Referrer-Policy"] == "no-referrer", path
