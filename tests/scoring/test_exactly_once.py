"""D-14: whatever arrives how often from how many at once, the score is the sum of what happened."""

import random
import threading
from datetime import timedelta

import pytest
from django.db import connection

from contacts.ingest import ingest
from contacts.models import Contact, Touchpoint
from contacts.stream import Busy, Step, put, run_step
from scoring.points import count_wrong_scores, score_at
from tests.scoring.world import NOW, STEPS, model, rule

THREADS = 50


@pytest.mark.django_db(transaction=True)
def test_a_thousand_events_over_fifty_threads_with_repeats_count_once_each():
    engagement = model(qualify_at=50)
    rule(engagement, "page.viewed", 3)
    rule(engagement, "email.clicked", 7)
    chance = random.Random(14)
    events = [
        (f"m{number}", f"person{chance.randrange(20)}@example.com", chance.choice(["page.viewed", "email.clicked"]))
        for number in range(700)
    ]
    calls = events + chance.sample(events, 300)
    chance.shuffle(calls)
    due = {}
    for _, email, kind in events:
        due[email] = due.get(email, 0) + (3 if kind == "page.viewed" else 7)
    is_over = threading.Event()

    def send(mine):
        try:
            for message_id, email, kind in mine:
                put(kind=kind, source="web", now=NOW, message_id=message_id, email=email)
        finally:
            connection.close()

    def one_tick(number):
        try:
            for step in [Step("ingest", ingest), *STEPS]:
                run_step(step, NOW + timedelta(seconds=number))
        except Busy:
            pass

    def keep_ticking():
        try:
            number = 0
            while not is_over.wait(0.01):
                one_tick(number)
                number += 1
        finally:
            connection.close()

    ticker = threading.Thread(target=keep_ticking)
    ticker.start()
    writers = [threading.Thread(target=send, args=[calls[number::THREADS]]) for number in range(THREADS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    is_over.set()
    ticker.join()
    one_tick(3600)
    scores = score_at(engagement, None, NOW + timedelta(hours=2))
    emails = dict(Contact.objects.values_list("pk", "email"))
    assert {emails[contact]: score for contact, score in scores.items()} == due
    assert count_wrong_scores() == 0
    over = {email for email, points in due.items() if points >= 50}
    crossed = list(Touchpoint.objects.filter(kind="score.crossed").values_list("contact__email", flat=True))
    assert sorted(crossed) == sorted(over)
    leads = list(Touchpoint.objects.filter(kind="lead.qualified").values_list("contact__email", flat=True))
    assert sorted(leads) == sorted(over)
