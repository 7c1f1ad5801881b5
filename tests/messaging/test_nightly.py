"""The round over live messages: findings that come and go, links that are asked; and publishing that is refused."""

import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.db import connection
from django.utils import timezone

from campaigns import letters, publishing
from campaigns.models import Journey
from contacts import outward
from contacts.models import Field
from journey_crm import tasks
from messaging import deadlinks, nightly
from messaging.models import Brand, LinkCheck, LintFinding, Reading, SignupForm, Template, Topic

DAY = timedelta(days=1)


@pytest.fixture
def kit(db):
    return Brand.objects.create(
        pk=1, name="Acme", sender="Acme <hello@acme.example>", postal_address="1 Main St, Brno", banned_words=["cheap"]
    )


def letter(key: str, **values) -> Template:
    topic, _ = Topic.objects.get_or_create(key="news", defaults={"name": "News", "is_opt_in": False})
    texts = {"subject": "Hello", "preheader": "First words", "body": "Good morning."}
    return Template.objects.create(**{"key": key, "name": key.title(), "topic": topic} | texts | values)


def draft(now, *steps, key: str = "welcome", **definition) -> Journey:
    made = Journey.objects.create(key=key, kind="onboarding", name="Welcome")
    told = {
        "key": key,
        "name": "Welcome",
        "kind": "onboarding",
        "trigger": {"touchpoint": "trial.started"},
        "steps": list(steps),
    }
    publishing.save_draft(journey=made, definition=told | definition, by=None, now=now)
    made.refresh_from_db()
    return made


def publish(journey, now) -> Journey:
    publishing.publish(journey=journey, by=None, now=now)
    journey.refresh_from_db()
    return journey


# Publishing ----------------------------------------------------------------------------------------------------------


def test_an_error_in_what_a_step_sends_hinders_publishing_and_names_step_and_rule(kit, now):
    letter("good")
    letter("bad", body='Look: <span style="color:#ddd">faint words</span>')
    branch = {"ask": {"field": "country", "op": "eq", "value": "CZ"}, "then": [{"key": "second", "send": "bad"}]}
    journey = draft(now, {"send": "good"}, branch)
    with pytest.raises(publishing.Unpublishable) as refusal:
        publishing.publish(journey=journey, by=None, now=now)
    [one] = [one for one in refusal.value.problems if one.level != "warning"]
    assert (one.step_key, one.path) == ("second", "steps[1].then[0].send")
    assert "“Bad” (en)" in one.message
    assert "contrast of 1.3" in one.message
    assert "[contrast]" in one.message
    # Mended, it goes live.
    Template.objects.filter(key="bad").update(body="Look: words that everybody can read.")
    assert publish(journey, now).state == "live"


def test_a_broadcast_and_a_track_are_asked_like_a_journey(kit, now):
    letter("bad", body="[Look](#)")
    for kind, definition in [
        ("broadcast", {
            "audience": {"field": "country", "op": "eq", "value": "CZ"}, "send": "bad", "at": "2026-12-24T09:00",
        }),
        ("nurture", {
            "trigger": {"touchpoint": "trial.started"},
            "streams": [{"key": "one", "cadence": {"rrule": "FREQ=WEEKLY", "at": "10:00"}, "items": [{"send": "bad"}]}],
        }),
    ]:  # fmt: skip
        made = Journey.objects.create(key=kind, kind=kind)
        publishing.save_draft(journey=made, definition={"key": kind, "kind": kind, **definition}, by=None, now=now)
        with pytest.raises(publishing.Unpublishable, match=r"send: .*\[empty_link\]"):
            publishing.publish(journey=made, by=None, now=now)


def test_warnings_are_shown_and_hinder_nothing(kit, now):
    letter("hello", body="Cheap plans.")
    journey = draft(now, {"key": "first", "send": "hello"})
    [one] = publishing.problems(publishing.draft_of(journey))
    assert (one.level, one.step_key) == ("warning", "first")
    assert "[banned_word]" in one.message
    assert publish(journey, now).state == "live"


def test_of_many_warnings_a_journey_tells_the_first_and_how_many_more(kit, now):
    Brand.objects.update(banned_words=["one", "two", "three", "four", "five"])
    letter("hello", body="One two three four five.")
    problems = publishing.problems(publishing.draft_of(draft(now, {"send": "hello"})))
    assert [one.level for one in problems] == ["warning"] * 4
    assert "2 more warnings" in problems[-1].message


@pytest.mark.parametrize(
    "body", ["<style>p, div, a {display:none}</style><b>Hi</b>", "<style>* {font-size:0}</style><b>Hi</b>"]
)
def test_nothing_is_scheduled_whose_rendered_mail_hides_address_or_way_out(kit, now, body):
    letter("bad", body=body, body_format="html")
    with pytest.raises(publishing.Unpublishable) as refusal:
        publishing.publish(journey=draft(now, {"send": "bad"}), by=None, now=now)
    said = str(refusal.value)
    assert "[no_postal_address]" in said


def test_without_a_brand_nothing_goes_live(db, now):
    letter("hello")
    with pytest.raises(publishing.Unpublishable, match=r"no brand yet.*\[no_brand\]"):
        publishing.publish(journey=draft(now, {"send": "hello"}), by=None, now=now)


def test_a_link_known_to_be_dead_hinders_publishing(kit, now):
    url = "https://acme.example/a?b=1&c=2"
    letter("hello", body=f"[Look]({url})")
    LinkCheck.objects.create(
        url=url, digest=deadlinks._digest(url), checked_at=now, status=404, problem="not_found", failing_since=now
    )
    with pytest.raises(publishing.Unpublishable, match=r"is not there.*\[dead_link\]"):
        publishing.publish(journey=draft(now, {"send": "hello"}), by=None, now=now)


def test_a_field_that_nobody_made_is_pointed_out_until_it_is(kit, now):
    letter("hello", body="Your plan: {{ contact.plan | default: 'free' }}")
    journey = draft(now, {"send": "hello"})
    assert "[unknown_token]" in publishing.problems(publishing.draft_of(journey))[0].message
    Field.objects.create(key="plan", type="text")
    assert publishing.problems(publishing.draft_of(journey)) == []


def test_the_uses_of_templates_are_found_wherever_they_stand():
    definition = {
        "key": "j", "kind": "onboarding",
        "steps": [
            {"key": "a", "send": "one"},
            {"offer": {"slot": "x"}, "key": "b", "send": "two", "default": "three"},
            {"key": "c", "ask": {"field": "x"}, "then": [{"key": "d", "send": "four"}], "else": []},
        ],
    }  # fmt: skip
    assert [(one.path, one.step_key, one.template) for one in letters.uses(definition)] == [
        ("steps[0].send", "a", "one"),
        ("steps[1].send", "b", "two"),
        ("steps[1].default", "b", "three"),
        ("steps[2].then[0].send", "d", "four"),
    ]
    assert list(letters.uses("no mapping")) == []


# The round -----------------------------------------------------------------------------------------------------------


def look(at) -> nightly.Round:
    done = nightly.lint(at, asks_links=False)
    assert done is not None
    return done


def test_a_finding_comes_stays_goes_and_comes_back(kit, now):
    letter("hello", body="Cheap plans.")
    letter("unused", body="Cheap plans.")
    publish(draft(now, {"send": "hello"}), now)
    assert look(now) == nightly.Round(templates=1, errors=0, warnings=1)
    [one] = LintFinding.objects.all()
    assert (one.template.key, one.language, one.rule, one.excerpt) == ("hello", "en", "banned_word", "Cheap")
    assert (one.since, one.seen_at, one.resolved_at) == (now, now, None)
    # Again at once, and a day later: the same row. That the line moved makes no other finding of it.
    look(now)
    Template.objects.update(body="Good morning.\n\nCheap plans.")
    look(now + DAY)
    [one] = LintFinding.objects.all()
    assert (one.since, one.seen_at, one.values["line"]) == (now, now + DAY, 3)
    Template.objects.update(body="Good plans.")
    assert look(now + 2 * DAY).warnings == 0
    one.refresh_from_db()
    assert one.resolved_at == now + 2 * DAY
    Template.objects.update(body="Cheap plans.")
    look(now + 3 * DAY)
    one.refresh_from_db()
    assert (one.since, one.resolved_at) == (now + 3 * DAY, None)


def test_a_short_message_is_looked_at_like_a_mail(kit, now):
    one = letter("sms", channel="sms", body="Cheap plans: https://acme.example/plans", preheader="")
    publish(draft(now, {"send": "sms"}), now)
    assert look(now).warnings == 1
    assert Reading.objects.get(template=one).tone["en"]["words"] == 4
    assert list(nightly._links(one, nightly.ask())) == ["https://acme.example/plans"]


def test_what_is_sent_no_more_is_no_finding_and_is_read_no_more(kit, now):
    letter("hello", body="Cheap plans.")
    journey = publish(draft(now, {"send": "hello"}), now)
    look(now)
    assert Reading.objects.get().users == ["Welcome"]
    publishing.archive(journey=journey, by=None, now=now)
    assert look(now + DAY).templates == 0
    assert LintFinding.objects.open().count() == Reading.objects.count() == 0


def test_a_broadcast_that_is_over_is_not_live(kit, now):
    letter("sale")
    made = Journey.objects.create(key="sale", kind="broadcast")
    definition = {
        "key": "sale", "kind": "broadcast", "audience": {"field": "country", "op": "eq", "value": "CZ"}, "send": "sale",
        "at": "2026-12-24T09:00",
    }  # fmt: skip
    publishing.save_draft(journey=made, definition=definition, by=None, now=now)
    publishing.publish(journey=made, by=None, now=now)
    assert [one.key for one in nightly.live()] == ["sale"]
    made.sendouts.update(state="missed", finished_at=now)
    assert list(nightly.live()) == []


def test_the_mail_that_confirms_sign_ups_is_live_while_a_form_is_open(kit, now):
    from messaging.signups import ensure_template

    ensure_template(now)
    assert list(nightly.live()) == []
    SignupForm.objects.create(key="news")
    assert [one.key for one in nightly.live()] == ["confirm-sign-up"]
    assert look(now).errors == 0


def test_what_was_muted_stays_muted_and_counts_nowhere(kit, now, admin_user):
    letter("hello", body="Cheap plans.")
    publish(draft(now, {"send": "hello"}), now)
    look(now)
    LintFinding.objects.get().mute(by=admin_user, reason="It is a quotation.", now=now)
    assert look(now + DAY).warnings == 0
    one = LintFinding.objects.get()
    assert (one.muted_by, one.mute_reason) == (admin_user, "It is a quotation.")
    one.unmute()
    assert look(now + DAY).warnings == 1


@pytest.mark.django_db(transaction=True)
def test_the_round_is_made_once_a_night(kit, now):
    assert nightly.lint_if_due(now) is not None  # never yet: at once
    assert nightly.lint_if_due(now + timedelta(hours=1)) is None
    night = now.replace(hour=2) + DAY  # three in Prague
    assert nightly.lint_if_due(now.replace(hour=23)) is None
    assert nightly.lint_if_due(night) is not None
    assert nightly.lint_if_due(night + timedelta(minutes=1)) is None
    # A night was missed: whenever a day is over.
    assert nightly.lint_if_due(night + timedelta(hours=27)) is not None


@pytest.mark.django_db(transaction=True)
def test_the_task_twice_is_the_task_once(now):
    Brand.objects.create(pk=1, name="A", sender="A <a@acme.example>", postal_address="B", banned_words=["cheap"])
    letter("hello", body="Cheap plans. [x](http://10.0.0.7/x) [y](https://acme.example/y)")
    publish(draft(now, {"send": "hello"}), now)
    tasks.lint()
    rows = list(LintFinding.objects.order_by("pk").values())
    assert {one["rule"] for one in rows} == {"banned_word", "insecure_link", "spam_hint"}
    tasks.lint()
    assert list(LintFinding.objects.order_by("pk").values()) == rows
    # What may not be asked, and names that nobody can own, are not asked.
    assert not LinkCheck.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_at_once_are_one(now):
    taken, held = threading.Event(), threading.Event()

    def other() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [nightly._LOCK])
        taken.set()
        held.wait(20)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [nightly._LOCK])
        connection.close()

    thread = threading.Thread(target=other)
    thread.start()
    assert taken.wait(20)
    assert nightly.lint(now) is None
    held.set()
    thread.join()
    assert nightly.lint(now) is not None


def test_five_hundred_messages_are_looked_at_a_few_at_a_time(kit, now, monkeypatch, django_assert_max_num_queries):
    topic = Topic.objects.create(key="many", name="Many", is_opt_in=False)
    Template.objects.bulk_create(
        Template(key=f"t{number}", topic=topic, subject="Hello", preheader="Words", body=f"Cheap number {number}.")
        for number in range(500)
    )
    monkeypatch.setattr(nightly, "live_templates", lambda: {f"t{number}": ["Welcome"] for number in range(500)})
    held: list[int] = []
    keep = nightly._keep
    monkeypatch.setattr(nightly, "_keep", lambda found, at: (held.append(len(found)), keep(found, at)))
    # What a content asks of the database for each message, and a few statements for each handful of them.
    with django_assert_max_num_queries(500 * 2 + 10 * 15 + 20):
        assert look(now).warnings == 500
    assert held == [nightly.CHUNK] * 10


# Links ---------------------------------------------------------------------------------------------------------------


class Site:
    """A real HTTP server: `/404`, `/500`, `/ok`, …; `asked` is what it was asked, in order."""

    def __init__(self):
        self.asked: list[str] = []
        self.mended: set[str] = set()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self, method: str) -> None:
                site.asked.append(f"{method} {self.path}")
                wanted = self.path.split("/")[1].split("?")[0]
                status = int(wanted) if wanted.isdecimal() and self.path not in site.mended else 200
                if wanted == "no-head":
                    status = 405 if method == "HEAD" else 200
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "http://169.254.169.254/latest/")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_HEAD(self):
                self._answer("HEAD")

            def do_GET(self):
                self._answer("GET")

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site(settings):
    settings.WEBHOOK_ALLOW_PRIVATE = True  # as the tests of webhooks: the way in for a server of our own
    with Site() as one:
        yield one


@pytest.mark.django_db(transaction=True)
def test_links_are_asked_once_a_night_and_the_dead_are_known(site, now):
    paths = ["ok", "404", "410", "500", "302", "403", "no-head", "ok?a=1&b=2#part"]
    urls = [f"{site.url}/{path}" for path in paths]
    assert deadlinks.look([*urls, *urls, "mailto:a@acme.example", "#x"], now) == len(urls)
    assert sorted(deadlinks.known()) == [f"{site.url}/404", f"{site.url}/410"]
    assert set(deadlinks.known().values()) == {"not_found"}
    # Where HEAD does not answer for sure, GET does; where it does, nothing else is asked. Nothing follows a redirect.
    assert {"HEAD /404", "GET /404", "HEAD /no-head", "GET /no-head", "HEAD /ok?a=1&b=2"} <= set(site.asked)
    assert "GET /ok" not in site.asked
    before = list(site.asked)
    assert deadlinks.look(urls, now + timedelta(hours=2)) == 0
    assert site.asked == before
    # What fails two nights in a row is dead, too.
    deadlinks.look(urls, now + DAY)
    assert deadlinks.known()[f"{site.url}/500"] == "failing"
    assert deadlinks.forget(now + timedelta(days=40)) == len(urls)


@pytest.mark.django_db(transaction=True)
def test_a_dead_link_is_found_at_night_and_gone_once_it_is_mended(site, now):
    Brand.objects.create(pk=1, name="A", sender="A <a@acme.example>", postal_address="B")
    letter("hello", body=f"[Look]({site.url}/404) and [more]({site.url}/ok).")
    publish(draft(now, {"send": "hello"}), now)
    assert nightly.lint(now).errors == 1
    one = LintFinding.objects.get(rule="dead_link")
    assert one.excerpt == f"{site.url}/404"
    Template.objects.update(body=f"[Look]({site.url}/ok)")
    assert nightly.lint(now + DAY).errors == 0


@pytest.mark.django_db(transaction=True)
def test_who_mended_a_page_has_it_asked_again_at_once(site, now, client, admin_user):
    Brand.objects.create(pk=1, name="A", sender="A <a@acme.example>", postal_address="B")
    letter("hello", body=f"[Look]({site.url}/404)")
    journey = draft(now, {"send": "hello"})
    deadlinks.look([f"{site.url}/404"], now)
    assert "[dead_link]" in publishing.problems(publishing.draft_of(journey))[0].message
    site.mended.add("/404")
    client.force_login(admin_user)
    client.post("/admin/messaging/consistency/look/")
    assert "[dead_link]" not in "".join(one.message for one in publishing.problems(publishing.draft_of(journey)))


@pytest.mark.django_db(transaction=True)
def test_a_server_that_is_silent_or_not_there_is_dead_after_two_nights(site, now, monkeypatch):
    monkeypatch.setattr(outward, "CONNECT_SECONDS", 0.5)
    gone = "http://127.0.0.1:9/x"
    for night in range(2):
        deadlinks.look([gone, f"{site.url}/ok"], now + night * DAY)
        assert bool(deadlinks.known()) is (night == 1)
    assert deadlinks.known() == {gone: "no_answer"}


@pytest.mark.django_db(transaction=True)
def test_our_own_network_is_never_asked(settings, now, monkeypatch):
    settings.WEBHOOK_ALLOW_PRIVATE = False
    reached = []
    monkeypatch.setattr(outward.socket, "create_connection", lambda *args, **kwargs: reached.append(args))
    monkeypatch.setattr(outward, "addresses_of", lambda host, port: ["10.0.0.5"])
    urls = [
        "https://127.0.0.1/", "https://10.1.2.3/x", "https://169.254.169.254/latest/", "https://[::1]/", "http://shop.com/",
        "https://2130706433/", "https://intranet.local/", "https://shop.com:22/", "https://user:pw@shop.com/",
        "https://rebound.com/",
    ]  # fmt: skip
    deadlinks.look(urls, now)
    assert reached == []
    assert deadlinks.known() == {}


@pytest.mark.django_db(transaction=True)
def test_if_nobody_answers_we_are_the_ones_cut_off(now, monkeypatch):
    def nobody(host, port):
        raise outward.socket.gaierror("no name")

    monkeypatch.setattr(outward, "addresses_of", nobody)
    urls = [f"https://shop{number}.com/" for number in range(4)]
    for night in range(3):
        assert deadlinks.look(urls, now + night * DAY) == 0
    assert deadlinks.known() == {}


def test_links_are_not_asked_inside_a_transaction(db, now):
    with pytest.raises(RuntimeError, match="transaction"):
        deadlinks.look(["https://acme.example/"], now)


@pytest.mark.django_db(transaction=True)
def test_no_more_than_the_most_are_asked_in_one_night(site, now, monkeypatch):
    monkeypatch.setattr(deadlinks, "MOST", 3)
    urls = [f"{site.url}/ok?{number}" for number in range(5)]
    assert [deadlinks.look(urls, now + timedelta(minutes=one)) for one in range(3)] == [3, 2, 0]


def test_health_counts_what_the_linter_found(client, kit, now):
    letter("hello", body="Cheap plans.")
    publish(draft(now, {"send": "hello"}), now)
    look(timezone.now())
    told = client.get("/health/").json()["lint"]
    assert (told["errors"], told["warnings"]) == (0, 1)
    assert told["linted_at"]
