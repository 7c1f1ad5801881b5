"""Campaign parameters on links: added to our own pages, and nothing is ever broken."""

import pytest
from django.core.exceptions import ValidationError

from messaging import utm
from messaging.models import Link, UtmRules

TAGS = {"params": {"utm_source": "acme", "utm_campaign": "a b"}, "hosts": ["acme.example"], "is_everywhere": False}
BOTH = "utm_source=acme&utm_campaign=a%20b"

URLS = [
    ("https://acme.example", f"https://acme.example/?{BOTH}"),
    ("https://acme.example/", f"https://acme.example/?{BOTH}"),
    ("https://acme.example/a", f"https://acme.example/a?{BOTH}"),
    ("https://acme.example/a?", f"https://acme.example/a?{BOTH}"),
    ("https://acme.example/a?b=1", f"https://acme.example/a?b=1&{BOTH}"),
    ("https://acme.example/a?b=1&", f"https://acme.example/a?b=1&{BOTH}"),
    ("https://acme.example/a#top", f"https://acme.example/a?{BOTH}#top"),
    ("https://acme.example#top", f"https://acme.example/?{BOTH}#top"),
    ("https://acme.example/#/app?tab=1&x=2", f"https://acme.example/?{BOTH}#/app?tab=1&x=2"),
    ("https://acme.example/a?b=1#c?d=2#e", f"https://acme.example/a?b=1&{BOTH}#c?d=2#e"),
    # What is encoded stays as it is written, right or wrong.
    ("https://acme.example/?q=a%26b%3Dc%23d", f"https://acme.example/?q=a%26b%3Dc%23d&{BOTH}"),
    ("https://acme.example/?q=a+b&r=%C5%BE", f"https://acme.example/?q=a+b&r=%C5%BE&{BOTH}"),
    ("https://acme.example/ž/?q=ž", f"https://acme.example/ž/?q=ž&{BOTH}"),
    ("https://acme.example/%zz?q=%", f"https://acme.example/%zz?q=%&{BOTH}"),
    ("https://acme.example/?next=https://x.example/?utm_source=x", f"https://acme.example/?next=https://x.example/?utm_source=x&{BOTH}"),
    ("https://acme.example/a;b=1?c", f"https://acme.example/a;b=1?c&{BOTH}"),
    ("https://acme.example/??a", f"https://acme.example/??a&{BOTH}"),
    # What the author wrote stays, and comes once.
    ("https://acme.example/?utm_source=me", "https://acme.example/?utm_source=me&utm_campaign=a%20b"),
    ("https://acme.example/?UTM_Source=me", "https://acme.example/?UTM_Source=me&utm_campaign=a%20b"),
    ("https://acme.example/?utm%5Fsource=me", "https://acme.example/?utm%5Fsource=me&utm_campaign=a%20b"),
    ("https://acme.example/?a=1;utm_source=me", "https://acme.example/?a=1;utm_source=me&utm_campaign=a%20b"),
    ("https://acme.example/?utm_source", "https://acme.example/?utm_source&utm_campaign=a%20b"),
    (f"https://acme.example/?{BOTH}", f"https://acme.example/?{BOTH}"),
    ("https://acme.example/#utm_source=me", f"https://acme.example/?{BOTH}#utm_source=me"),
    # Whose pages they are.
    ("https://www.acme.example/", f"https://www.acme.example/?{BOTH}"),
    ("https://shop.acme.example:8443/", f"https://shop.acme.example:8443/?{BOTH}"),
    ("HTTPS://ACME.EXAMPLE/A", f"HTTPS://ACME.EXAMPLE/A?{BOTH}"),
    ("https://acme.example./", f"https://acme.example./?{BOTH}"),
    ("https://user:pw@acme.example/", f"https://user:pw@acme.example/?{BOTH}"),
    ("https://acme.example@evil.example/", "https://acme.example@evil.example/"),
    ("https://notacme.example/", "https://notacme.example/"),
    ("https://acme.example.evil.example/", "https://acme.example.evil.example/"),
    ("https://evil.example/?acme.example", "https://evil.example/?acme.example"),
    ("https://evil.example#@acme.example", "https://evil.example#@acme.example"),
    ("mailto:a@acme.example", "mailto:a@acme.example"),
    ("tel:+420123", "tel:+420123"),
    ("#unsubscribe", "#unsubscribe"),
    ("https://[acme.example/", "https://[acme.example/"),
    ("https://", "https://"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "tagged"), URLS)
def test_no_address_is_broken(url, tagged):
    assert utm.tag(url, TAGS) == tagged
    assert utm.tag(tagged, TAGS) == tagged, "nothing is added twice"
    assert utm.tag(url, None) == url


def test_others_pages_are_tagged_only_when_told_and_idn_hosts_are_one():
    assert utm.tag("https://x.example/a", TAGS | {"is_everywhere": True}) == f"https://x.example/a?{BOTH}"
    host = utm.own_host("https://www.kůň.example/")
    assert utm.tag("https://kůň.example/", TAGS | {"hosts": [host]}) == f"https://kůň.example/?{BOTH}"
    assert utm.tag("https://xn--k-oja3d.example/", TAGS | {"hosts": [host]}).startswith("https://xn--k-oja3d.example/")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"campaign": "{journy}"}, "campaign"),
        ({"campaign": "{journey"}, "campaign"),
        ({"term": "{}"}, "term"),
        ({"hosts": ["https://a.example"]}, "hosts"),
        ({"hosts": "a.example"}, "hosts"),
        ({"hosts": [1]}, "hosts"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(values, field):
    with pytest.raises(ValidationError) as caught:
        UtmRules(pk=1, **values).full_clean()
    assert field in caught.value.message_dict


@pytest.fixture
def rules(brand):
    brand.website = "https://www.acme.example"
    brand.save()
    return UtmRules.objects.create(pk=1, source="acme", campaign="{journey}", content="{template}-{language}-{topic}")


def urls() -> set[str]:
    return set(Link.objects.values_list("url", flat=True))


def test_the_stored_link_carries_them_by_journey_and_language(
    rules, make_message, make_template, make_contact, send, smtp_sink, client
):
    body = "[a](https://acme.example/a#x) [b](https://other.example/) [c](https://acme.example/{{ contact.id }})"
    template = make_template(key="hello", body=body, translations={"cs": {"body": f"cs {body}"}}, is_repeatable=True)
    person = make_contact(language="cs")
    make_message(person, template, journey_key="trial & co")
    make_message(template=template)
    assert send() == 2
    first = "utm_source=acme&utm_medium=email&utm_campaign=trial%20%26%20co&utm_content=hello-cs-newsletter"
    assert f"https://acme.example/a?{first}#x" in urls() and f"https://acme.example/{person.pk}?{first}" in urls()
    assert (
        "https://acme.example/a?utm_source=acme&utm_medium=email&utm_campaign=none&utm_content=hello-en-newsletter#x"
        in urls()
    )
    assert "https://other.example/" in urls() and not [url for url in urls() if utm.JOURNEY in url]
    # A click leads there.
    html = smtp_sink.mails[0].raw.decode().replace("=\r\n", "").replace("=3D", "=")
    token = html.split("/t/c/")[1].split('"')[0].split(")")[0].strip()
    assert "utm_campaign=" in client.get(f"/t/c/{token}")["Location"]


def test_a_template_has_its_own_or_none(rules, make_message, make_template, send, smtp_sink):
    link = "[a](https://acme.example/{})"
    make_message(template=make_template(body=link.format("off"), utm={"off": True}))
    make_message(template=make_template(body=link.format("own"), utm={"campaign": "spring {class}", "content": ""}))
    send()
    assert "https://acme.example/off" in urls()
    assert "https://acme.example/own?utm_source=acme&utm_medium=email&utm_campaign=spring%20marketing" in urls()
    UtmRules.objects.update(is_active=False)
    make_message(template=make_template(body=link.format("inactive")))
    send()
    assert "https://acme.example/inactive" in urls()


@pytest.mark.parametrize("own", [[], {"on": True}, {"off": 1}, {"campaign": 1}, {"campaign": "{x}"}])
def test_what_is_no_parameter_of_a_template_is_refused(make_template, own):
    template = make_template()
    template.utm = own
    with pytest.raises(ValidationError) as caught:
        template.full_clean()
    assert "utm" in caught.value.message_dict


def test_the_screen_shows_an_example(rules, admin_client):
    page = admin_client.get("/admin/messaging/utmrules/1/change/").content.decode()
    assert "https://www.acme.example/?utm_source=acme&amp;utm_medium=email&amp;utm_campaign=trial-onboarding" in page
