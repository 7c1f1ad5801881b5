"""Many at once: however many write and tick, a line is crossed once, and caps fall as on one after the other."""

import random
import threading
from datetime import timedelta

import pytest
from django.db import connection

from contacts.ingest import ingest
from contacts.models import Contact, Touchpoint
from contacts.stream import Busy, Step, put, run_step
from leads.models import Lead
from scoring import points
from scoring.models import ContactScore, ScoreEntry, ScoreGroup, ScoreModel, ScoreRule
from scoring.points import book_fit, count_wrong_scores, score_at
from tests.scoring.world import NOW, STEPS, known, model, rule, tick

pytestmark = pytest.mark.django_db(transaction=True)
STEPS_WITH_INGEST = [Step("ingest", ingest), *STEPS]


def one_tick(second: int) -> None:
    try:
        for step in STEPS_WITH_INGEST:
            run_step(step, NOW + timedelta(seconds=second))
    except Busy:
        pass


def at_once(writers: list, tickers: int) -> None:
    """Lets all writers go at one signal, while so many others tick until they have ended; raises what went wrong."""
    start, is_over, errors = threading.Barrier(len(writers) + tickers), threading.Event(), []

    def guarded(work):
        try:
            start.wait()
            work()
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    def keep_ticking():
        second = 0
        while not is_over.wait(0.005):
            one_tick(second)
            second += 1

    ticking = [threading.Thread(target=guarded, args=[keep_ticking]) for _ in range(tickers)]
    writing = [threading.Thread(target=guarded, args=[writer]) for writer in writers]
    for thread in [*ticking, *writing]:
        thread.start()
    for thread in writing:
        thread.join()
    is_over.set()
    for thread in ticking:
        thread.join()
    assert not errors, errors[0]


def test_twenty_events_at_once_cross_the_line_once_and_make_one_lead():
    engagement = model(qualify_at=50)
    rule(engagement, "page.viewed", 10, days=14)

    def view(number):
        return lambda: put(kind="page.viewed", source="web", now=NOW, message_id=f"m{number}", email="jana@example.com")

    at_once([view(number) for number in range(20)], tickers=3)
    one_tick(3600)
    contact = Contact.objects.get()
    assert ScoreEntry.objects.get().points == 200
    crossed = Touchpoint.objects.filter(kind="score.crossed")
    assert [one.properties["direction"] for one in crossed] == ["up"]
    assert Touchpoint.objects.filter(kind="lead.qualified").count() == 1
    assert Lead.objects.filter(contact=contact).count() == 1
    assert count_wrong_scores() == 0


def test_a_thousand_events_over_fifty_threads_with_repeats_fill_the_caps_of_rules_and_groups_once():
    engagement = model(qualify_at=60)
    page, click = rule(engagement, "page.viewed", 3, cap=30), rule(engagement, "email.clicked", 7, cap=35)
    bounce = rule(engagement, "email.bounced", -4)
    shared = ScoreGroup.objects.create(model=engagement, key="web", cap_per_day=50)
    ScoreRule.objects.filter(pk__in=[page.pk, click.pk, bounce.pk]).update(group=shared)
    chance = random.Random(6)
    kinds = ["page.viewed", "page.viewed", "email.clicked", "email.bounced"]
    events = [
        (f"m{number}", f"person{chance.randrange(40)}@example.com", chance.choice(kinds), number)
        for number in range(700)
    ]
    calls = events + chance.sample(events, 300)
    chance.shuffle(calls)

    def send(mine):
        def work():
            for message_id, email, kind, minute in mine:
                # One day, each at a minute of its own.
                at = NOW - timedelta(minutes=minute % 500, seconds=minute // 500)
                put(kind=kind, source="web", now=NOW, occurred_at=at, message_id=message_id, email=email)

        return work

    at_once([send(calls[number::50]) for number in range(50)], tickers=2)
    one_tick(3600)
    due = {}
    for _message, email, kind, _minute in events:
        counts = due.setdefault(email, dict.fromkeys(kinds, 0))
        counts[kind] += 1
    wanted = {
        email: min(50, min(30, 3 * counts["page.viewed"]) + min(35, 7 * counts["email.clicked"]))
        - min(50, 4 * counts["email.bounced"])
        for email, counts in due.items()
    }
    emails = dict(Contact.objects.values_list("pk", "email"))
    scores = score_at(engagement, None, NOW + timedelta(hours=2))
    assert {emails[contact]: score for contact, score in scores.items()} == wanted
    assert dict(ContactScore.objects.values_list("contact__email", "value")) == wanted
    assert sum(map(len, ScoreEntry.objects.values_list("touchpoint_ids", flat=True))) == len(events)
    assert count_wrong_scores() == 0


def test_a_recount_asked_for_while_the_step_runs_is_left_to_the_next(monkeypatch):
    fit, jana = model("fit", kind="fit"), known(country="CZ")
    rule(fit, {"field": "country", "op": "eq", "value": "CZ"}, 10)

    def ask_and_book(*given):
        ScoreModel.objects.filter(pk=fit.pk).update(is_recount_asked=True)
        return book_fit(*given)

    monkeypatch.setattr(points, "book_fit", ask_and_book)
    tick(NOW)
    assert score_at(fit, [jana.pk], NOW)[jana.pk] == 10
    assert ScoreModel.objects.get().is_recount_asked
    monkeypatch.undo()
    tick(NOW)
    assert not ScoreModel.objects.get().is_recount_asked
