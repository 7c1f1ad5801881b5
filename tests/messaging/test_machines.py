"""Machines are not people (D-18): verdicts with reasons, judged anew when the rules change, and what follows."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.utils import timezone

from contacts.ingest import ingest
from contacts.models import Consent, Membership, StepCursor, Touchpoint
from contacts.segments import create
from contacts.segments import refresh as refresh_segments
from contacts.stream import Step, run_step
from journey_crm.invariants import check
from messaging import hits, machines
from messaging.hits import forget_raw, reclassify, tell_hits
from messaging.models import Hit, Link, Message
from scoring.models import ContactScore, ScoreEntry, ScoreModel, ScoreRule
from scoring.points import score

BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36"
OUTLOOK = "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.4266; Pro)"
LINKS = [f"https://acme.example/{number}" for number in range(3)]
ROOT = Path(machines.__file__).parent.parent


@pytest.fixture
def model(db):
    """Ten points a click, at most thirty a day; one for an open."""
    model = ScoreModel.objects.create(key="product", qualify_at=5)
    ScoreRule.objects.create(model=model, key="click", when={"did": "email.clicked"}, points=10, cap_per_day=30)
    ScoreRule.objects.create(model=model, key="open", when={"did": "email.opened"}, points=1)
    return model


@pytest.fixture
def mail(smtp_sink, make_message, make_template, make_contact, send):
    """A mail with three links that left 24 minutes ago: the message, and its tracked paths by name."""
    template = make_template(body_format="html", body="".join(f'<a href="{url}">x</a> ' for url in LINKS))

    def run(contact=None, template=template, minutes=24):
        message = make_message(contact or make_contact(), template)
        assert send() == 1
        html = smtp_sink.mails[-1].body("html")
        Message.objects.filter(pk=message.pk).update(sent_at=timezone.now() - timedelta(minutes=minutes))
        found = re.findall(r"http://localhost:8000(/t/[cl]/[\w-]+|/t/o/[\w-]+\.gif|/[up]/[\w-]+/)", html)
        hidden = [one for one in found if one.startswith("/t/l/")]
        return message, {
            "links": [one for one in found if one.startswith("/t/c/")],
            "hidden": hidden[0] if hidden else None,
            "pixel": next(one for one in found if one.startswith("/t/o/")),
            "unsubscribe": next((one for one in found if one.startswith("/u/")), None),
            "html": html,
        }

    return run


@pytest.fixture
def tick():
    def run(seconds=4):
        at = timezone.now() + timedelta(seconds=seconds)
        for name, step in (("hits", tell_hits), ("ingest", ingest), ("score", score), ("segment", refresh_segments)):
            run_step(Step(name, step), at)
        assert list(StepCursor.objects.exclude(error="").values_list("step", "error")) == []
        return at

    return run


def verdicts(kind="email.clicked"):
    found = Touchpoint.objects.filter(kind=kind).order_by("pk").values_list("is_machine", "properties")
    assert all(is_machine == ("machine_reason" in said) for is_machine, said in found)
    return [said.get("machine_reason") for _is_machine, said in found]


def points(contact):
    """The score, which is the sum of the ledger whatever happened."""
    assert check(timezone.now())["I6"] == 0
    total = sum(ScoreEntry.objects.filter(contact=contact).values_list("points", flat=True))
    score = ContactScore.objects.filter(contact=contact).first()
    assert (score.value if score else 0) == total
    return total


# D-18, to the letter -------------------------------------------------------------------------------------------------


def test_all_links_within_two_seconds_by_a_browser_earn_nothing(client, mail, tick, model):
    message, paths = mail()
    for path in paths["links"]:
        client.get(path, headers={"user-agent": BROWSER})
    tick()
    assert verdicts() == ["all_links"] * 3
    assert points(message.contact) == 0
    assert not ScoreEntry.objects.exists()


def test_a_single_click_24_minutes_later_by_the_same_browser_is_a_persons(client, mail, tick, model):
    message, paths = mail()
    client.get(paths["links"][0], headers={"user-agent": BROWSER})
    tick()
    assert verdicts() == [None]
    assert points(message.contact) == 10


def test_a_picture_within_five_seconds_of_delivery_is_fetched_by_a_machine(client, mail, tick):
    message, paths = mail(minutes=0)
    client.get(paths["pixel"], headers={"user-agent": BROWSER})
    tick()
    assert verdicts("email.opened") == ["too_fast"]


def test_outlook_on_a_desk_is_a_person(client, mail, tick, model):
    message, paths = mail()
    client.get(paths["pixel"], headers={"user-agent": OUTLOOK})
    tick()
    assert verdicts("email.opened") == [None]
    assert points(message.contact) == 1


def test_looking_at_the_unsubscribe_page_three_times_changes_nothing(client, mail):
    message, paths = mail()
    for _ in range(3):
        page = client.get(paths["unsubscribe"], headers={"user-agent": BROWSER})
        client.head(paths["unsubscribe"])
    assert page.content.count(b'type="submit"') + page.content.count(b"<button>") == 1, page.content
    assert not Consent.objects.filter(contact=message.contact).exists()


# The hidden link -----------------------------------------------------------------------------------------------------


def test_the_hidden_link_stands_first_unseen_and_unheard_and_in_marketing_only(mail, make_template, smtp_sink):
    _, paths = mail()
    hidden = re.search(r"<div ([^>]*)><a ([^>]*)></a></div>", paths["html"])
    assert 'aria-hidden="true"' in hidden[1] and "display:none" in hidden[1].replace(" ", "")
    assert 'tabindex="-1"' in hidden[2] and paths["hidden"] in hidden[2]
    assert paths["html"].index(paths["hidden"]) < paths["html"].index(paths["links"][0])
    for message_class in ("transactional", "operational"):
        mail(template=make_template(message_class=message_class))
        assert "/t/l/" not in smtp_sink.mails[-1].body("html")


def test_nobody_sees_or_hears_the_hidden_link_and_no_key_reaches_it(mail, page):
    _, paths = mail()
    page.set_content(re.sub(r"<img[^>]*>", "", paths["html"]))
    link = page.locator(f'a[href$="{paths["hidden"]}"]')
    assert link.count() == 1
    assert not link.is_visible()
    assert "t/l/" not in page.locator("body").aria_snapshot()
    assert page.evaluate(
        """path => { const link = document.querySelector(`a[href$="${path}"]`); link.focus();
                     return document.activeElement !== link }""",
        paths["hidden"],
    )


def test_the_hidden_link_is_not_in_the_text_part(mail, smtp_sink):
    _, paths = mail()
    assert paths["hidden"] not in smtp_sink.mails[-1].body()


def test_who_follows_the_hidden_link_is_a_machine_with_all_it_did_around(client, mail, tick, model):
    message, paths = mail()
    assert client.get(paths["hidden"], headers={"user-agent": BROWSER}).status_code == 204
    client.get(paths["links"][0], headers={"user-agent": BROWSER})
    tick()
    assert verdicts() == ["honeypot", "honeypot"]
    assert points(message.contact) == 0


def test_a_person_who_clicks_later_than_the_scanner_counts(client, mail, tick, model):
    message, paths = mail()
    client.get(paths["hidden"], headers={"user-agent": "Mozilla/5.0 (X11) Scanner"})
    Hit.objects.update(hit_at=timezone.now() - timedelta(seconds=20))
    client.get(paths["links"][0], headers={"user-agent": BROWSER})
    tick()
    assert verdicts() == ["honeypot", None]
    assert points(message.contact) == 10


# Others --------------------------------------------------------------------------------------------------------------


def test_three_people_of_one_company_in_one_second_are_their_gateway(client, mail, make_contact, tick):
    at = timezone.now().replace(microsecond=0)
    for domain, number in (("acme.example", 3), ("small.example", 2), ("gmail.com", 4)):
        for person in range(number):
            _, paths = mail(make_contact(email=f"p{person}@{domain}"))
            client.get(paths["links"][0], headers={"user-agent": BROWSER})
    Hit.objects.update(hit_at=at)
    tick()
    said = Touchpoint.objects.filter(kind="email.clicked").values_list("contact__email", "properties__machine_reason")
    assert {(email.split("@")[1], reason) for email, reason in said} == {
        ("acme.example", "crowd"), ("small.example", None), ("gmail.com", None),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("agent", "address", "reason"),
    [
        (BROWSER, "209.222.82.17", "scanner"),
        (BROWSER, "209.222.90.17", None),
        (BROWSER, "2001:db8::1", None),
        ("Mozilla/5.0 Mimecast", "192.0.2.1", "scanner"),
        (f"{BROWSER} BingPreview/1.0b", "192.0.2.1", "scanner"),
        ("YahooMailProxy; https://help.yahoo.com/", "192.0.2.1", "yahoo_privacy"),
        (BROWSER, "not an address", None),
    ],
)
def test_known_scanners_are_known_by_name_and_network(client, mail, tick, agent, address, reason):
    _, paths = mail()
    client.get(paths["links"][0], headers={"user-agent": agent}, REMOTE_ADDR=address)
    tick()
    assert verdicts() == [reason]


def test_what_privacy_proxies_fetch_is_never_a_persons_and_says_so(client, mail, tick, model):
    message, paths = mail()
    for agent in ("Mozilla/5.0", "Mozilla/5.0 (via ggpht.com GoogleImageProxy)", "YahooMailProxy; x"):
        client.get(paths["pixel"], headers={"user-agent": agent})
    tick()
    assert verdicts("email.opened") == ["apple_privacy", "gmail_privacy", "yahoo_privacy"]
    assert set(verdicts("email.opened")) == set(machines.PRIVACY)
    assert points(message.contact) == 0


def test_an_endless_user_agent_is_cut_and_a_flood_of_them_waits(client, mail, tick, monkeypatch):
    monkeypatch.setattr(hits, "_MOST_AGENTS", 2)
    _, paths = mail()
    monkeypatch.setattr("contacts.stream.WINDOW", 1_000_000_000)  # one portion a tick, however long the stream
    for number in range(5):
        client.get(paths["links"][0], headers={"user-agent": f"{number}" + "x" * 5000 + "\0"})
    assert {len(agent) for agent in Hit.objects.values_list("user_agent", flat=True)} == {500}
    seen = []
    for _ in range(3):
        tick()
        seen.append(Touchpoint.objects.filter(kind="email.clicked").count())
    assert seen == [2, 4, 5]


def test_of_an_address_its_network_is_kept_and_no_more(client, mail):
    _, paths = mail()
    for address in ("203.0.113.77", "2001:db8:1:2:3::4", "fe80::1%eth0", ""):
        client.get(paths["links"][0], REMOTE_ADDR=address)
    kept = list(Hit.objects.order_by("pk").values_list("network", flat=True))
    assert kept == ["203.0.113.0/24", "2001:db8:1::/48", "fe80::/48", ""]


# Judged anew ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def newer(monkeypatch):
    """Rules of a next version: `newer(agent="…")` makes a new scanner known, `newer()` forgets all scanners."""

    def change(agent="nothing at all like it", by=1):
        machines.reason.cache_clear()
        monkeypatch.setattr(machines, "VERSION", machines.VERSION + by)
        monkeypatch.setattr(machines, "_SCANNERS", re.compile(re.escape(agent)))

    yield change
    machines.reason.cache_clear()


def test_a_verdict_says_by_which_rules_it_was_found(client, mail, tick):
    _, paths = mail()
    client.get(paths["links"][0], headers={"user-agent": BROWSER})
    tick()
    assert Hit.objects.get().rule_version == machines.VERSION
    assert Touchpoint.objects.get(kind="email.clicked").properties["rule_version"] == machines.VERSION


def test_new_rules_take_points_back_and_tell_of_it(client, mail, tick, model, newer):
    message, paths = mail()
    agent = f"{BROWSER} NewGateway/1"
    for path in paths["links"][:2]:
        client.get(path, headers={"user-agent": agent})
    client.get(paths["links"][0], headers={"user-agent": BROWSER})
    tick()
    segment = create(key="clickers", rule={"did": "email.clicked", "count": {"op": "gte", "value": 2}})
    tick()
    assert points(message.contact) == 30
    assert Membership.objects.filter(segment=segment, contact=message.contact).exists()
    before = list(Touchpoint.objects.filter(kind="email.clicked").values_list("pk", "occurred_at", "contact_id"))

    newer("NewGateway")
    assert reclassify(timezone.now()) == 2
    assert points(message.contact) == 30, "the ledger holds until the tick has told it"
    tick()
    assert verdicts() == ["scanner", "scanner", None]
    assert points(message.contact) == 10
    assert not Membership.objects.filter(segment=segment, contact=message.contact).exists()
    news = Touchpoint.objects.filter(kind="email.rejudged").order_by("pk")
    assert [(one.properties["machine_reason"], one.properties["kind"]) for one in news] == [
        ("scanner", "email.clicked")
    ] * 2
    after = list(Touchpoint.objects.filter(kind="email.clicked").values_list("pk", "occurred_at", "contact_id"))
    assert after == before, "what was seen is never edited"
    assert reclassify(timezone.now()) == 0, "judged by these rules already"


def test_new_rules_give_points_to_people_who_were_taken_for_machines(client, mail, tick, model, newer):
    message, paths = mail()
    client.get(paths["links"][0], headers={"user-agent": f"{BROWSER} SafeLinks/1"})
    tick()
    assert points(message.contact) == 0
    newer()
    assert reclassify(timezone.now()) == 1
    tick()
    assert verdicts() == [None]
    assert points(message.contact) == 10
    crossed = Touchpoint.objects.filter(kind="score.crossed", contact=message.contact)
    assert [one.properties["direction"] for one in crossed] == ["up"]


def test_there_and_back_again_the_ledger_is_as_it_was(client, mail, tick, model, newer):
    message, paths = mail()
    for path in (*paths["links"][:2], paths["links"][0], paths["links"][0]):
        client.get(path, headers={"user-agent": f"{BROWSER} Odd/1"})
    tick()

    def ledger():
        names = ("rule_id", "day", "points", "weight", "touchpoint_ids", "event_points")
        return list(ScoreEntry.objects.order_by("rule_id", "day").values_list(*names))

    before = ledger()
    assert points(message.contact) == 30, "the cap"
    for agent, expected in (("Odd", 0), ("nothing at all like it", 30)):
        newer(agent)
        assert reclassify(timezone.now()) == 4
        tick()
        assert points(message.contact) == expected
    assert ledger() == before


def test_the_command_judges_anew_and_the_dry_rules_change_nothing(client, mail, tick, newer, capsys):
    _, paths = mail()
    client.get(paths["links"][0], headers={"user-agent": f"{BROWSER} NewGateway/1"})
    tick()
    call_command("reclassify")
    newer("NewGateway")
    call_command("reclassify")
    call_command("reclassify", "--all")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["0", "1", "0"]


def test_what_still_waits_in_the_inbox_is_told_by_the_new_rules(client, mail, tick, newer, model):
    message, paths = mail()
    client.get(paths["links"][0], headers={"user-agent": f"{BROWSER} NewGateway/1"})
    run_step(Step("hits", tell_hits), timezone.now() + timedelta(seconds=4))
    newer("NewGateway")
    reclassify(timezone.now())
    tick()
    assert verdicts() == ["scanner"]
    assert points(message.contact) == 0


def test_what_was_forgotten_keeps_its_verdict_for_ever(client, mail, tick, newer):
    _, paths = mail()
    client.get(paths["links"][0], headers={"user-agent": f"{BROWSER} NewGateway/1"}, REMOTE_ADDR="203.0.113.7")
    tick()
    assert forget_raw(timezone.now() + timedelta(days=179)) == 0
    assert forget_raw(timezone.now() + timedelta(days=181)) == 1
    hit = Hit.objects.get()
    assert (hit.user_agent, hit.network, hit.method) == ("", "", "")
    newer("NewGateway")
    assert reclassify(timezone.now()) == 0
    assert verdicts() == [None]


def test_clicks_of_a_merged_person_are_judged_with_the_survivor(client, mail, tick, newer, model, make_contact, now):
    from contacts.merging import merge

    message, paths = mail()
    client.get(paths["links"][0], headers={"user-agent": f"{BROWSER} NewGateway/1"})
    tick()
    heir = make_contact()
    merge(survivor=heir, loser=message.contact, reason="by hand", now=timezone.now())
    newer("NewGateway")
    reclassify(timezone.now())
    tick()
    assert verdicts() == ["scanner"]
    assert points(heir) == 0


def test_the_rules_and_their_version_belong_together():
    """Whoever changes a rule raises `version` in machines.toml, or verdicts of two rules would bear one number."""
    from hashlib import sha256

    statement = re.search(r"-- judge_hits --.*?;\n", (ROOT / "messaging/queries/hits.sql").read_text(), re.DOTALL)[0]
    code = (ROOT / "messaging/machines.py").read_text() + (ROOT / "messaging/machines.toml").read_text() + statement
    kept = Path(__file__).parent / "machine-rules.txt"
    digest = sha256(re.sub(r"(?m)^version = \d+$", "", code).encode()).hexdigest()[:16]
    assert kept.read_text() == f"{machines.VERSION} {digest}\n", (
        f"Raise `version` in machines.toml and write “VERSION {digest}” into {kept.name}."
    )


def test_the_documentation_lists_every_reason():
    text = (ROOT / "docs/tracking.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(machines.REASONS)
    assert f"{hits.KEPT_RAW.days} days" in text


def test_links_are_unknown_to_nobody_who_was_erased(mail):
    """The hidden link is no stored URL: it can lead nowhere."""
    mail()
    assert not Link.objects.filter(pk=Hit.HIDDEN_LINK).exists()
