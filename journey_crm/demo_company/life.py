"""What the invented people do by themselves: sessions on the site, forms, trials, purchases, work in the product."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from journey_crm.demo_company.people import Person

SITE = "https://lumeo.example"
PAGES = [("/", 30), ("/features", 18), ("/pricing", 10), ("/blog/no-shows", 14), ("/blog/online-booking", 12),
         ("/guides/full-calendar", 8), ("/stories/pod-lipou", 6), ("/demo", 5), ("/about", 4)]  # fmt: skip
TITLES = {"/": "Lumeo", "/pricing": "Pricing", "/features": "Features", "/demo": "Demo", "/about": "About us"}


@dataclass(frozen=True)
class Deed:
    """Something a person does at a moment; `identifies` where she leaves her address.

    `told` is what the product tells of her with it, such as her plan.
    """

    at: datetime
    person: Person
    kind: str
    channel: str
    properties: dict[str, Any]
    identifies: bool = False
    told: dict[str, Any] = field(default_factory=dict)


def civil_hour(random: Random, day: datetime, person: Person) -> datetime:
    """A believable moment of that day in the person's own zone: working hours and a smaller evening peak."""
    hour = random.choices(range(7, 23), [2, 5, 9, 10, 9, 7, 6, 7, 7, 6, 5, 4, 5, 7, 6, 3])[0]
    local = day.astimezone(ZoneInfo(person.zone)).replace(
        hour=hour, minute=random.randrange(60), second=random.randrange(60), microsecond=0
    )
    return local.astimezone(day.tzinfo)


def _session(random: Random, at: datetime, person: Person, is_known: bool) -> Iterator[Deed]:
    pages = [page for page, _ in PAGES]
    weights = [weight * (1 + 4 * person.interest if page in ("/pricing", "/demo") else 1) for page, weight in PAGES]
    for page in random.choices(pages, weights, k=1 + min(6, int(random.expovariate(0.9)))):
        properties = {"url": SITE + page, "path": page, "title": TITLES.get(page, page.rsplit("/", 1)[-1])}
        if not is_known:
            properties["utm_source"] = person.source
        yield Deed(at, person, "page.viewed", "web", properties)
        at += timedelta(seconds=random.randrange(15, 240))
        if page == "/demo" and random.random() < 0.4:
            yield Deed(at, person, "demo.watched", "web", {"url": SITE + page})


def _days_of_visits(random: Random, first: datetime, end: datetime, person: Person) -> list[datetime]:
    days, at = [first], first
    while len(days) < 11:
        at += timedelta(days=1 + random.expovariate(0.08 + 0.35 * person.interest))
        if at >= end or random.random() < 0.14:
            break
        days.append(at)
    return days


def lives(random: Random, people: list[Person], start: datetime, end: datetime) -> list[Deed]:
    """All that these people do between two moments, in order."""
    deeds: list[Deed] = []
    for person in people:
        deeds += _life(random, person, start + timedelta(days=person.arrives), end)
    return sorted((deed for deed in deeds if start <= deed.at < end), key=lambda deed: (deed.at, deed.person.number))


def _life(random: Random, person: Person, first: datetime, end: datetime) -> Iterator[Deed]:
    days = _days_of_visits(random, first, end, person)
    known_on = random.randrange(len(days)) if person.ends_known else None
    for number, day in enumerate(days):
        at = civil_hour(random, day, person)
        is_known = known_on is not None and number > known_on
        yield from _session(random, at, person, is_known)
        if number == known_on:
            yield from _introduction(random, at + timedelta(minutes=20), person)
        elif is_known and random.random() < 0.12 + 0.2 * person.interest:
            yield Deed(at + timedelta(minutes=9), person, "guide.downloaded", "web", {"guide": "full-calendar"})
    if known_on is not None:
        yield from _later(random, civil_hour(random, days[known_on], person), person, end)


def _introduction(random: Random, at: datetime, person: Person) -> Iterator[Deed]:
    form = random.choices(["guide", "newsletter", "trial", "demo"], [45, 30, 10 + 25 * person.interest, 10])[0]
    yield Deed(at, person, "form.submitted", "web", {"form": form, "url": f"{SITE}/{form}"}, identifies=True)
    after = at + timedelta(seconds=5)
    if form == "guide":
        yield Deed(after, person, "guide.downloaded", "web", {"guide": "full-calendar"})
    elif form == "trial":
        yield trial(after, person)
    elif form == "demo":
        yield Deed(after, person, "demo.requested", "web", {"url": f"{SITE}/demo"})


def _later(random: Random, known_at: datetime, person: Person, end: datetime) -> Iterator[Deed]:
    if random.random() < 0.08 + 0.25 * person.interest:
        yield from webinar(random, known_at + timedelta(days=random.uniform(1, 21)), person)
    if random.random() < 0.9 * person.interest - 0.1:
        trial_at = known_at + timedelta(days=random.uniform(1, 20), minutes=3)
        yield trial(civil_hour(random, trial_at, person), person)
        if random.random() < 0.55 * person.interest:
            bought_at = civil_hour(random, trial_at + timedelta(days=random.uniform(6, 16)), person)
            yield Deed(bought_at, person, "order.placed", "purchase", {"products": ["start"]})
            yield from work(random, bought_at, person, end)


def trial(at: datetime, person: Person) -> Deed:
    """Somebody begins to try the product."""
    return Deed(at, person, "trial.started", "product", {"plan": "trial"}, told={"plan": "trial"})


def webinar(random: Random, at: datetime, person: Person) -> Iterator[Deed]:
    """Somebody registers for the webinar of the next Thursday, at four in Prague; most of them come."""
    thursday = (at + timedelta(days=(3 - at.weekday()) % 7 or 7)).astimezone(ZoneInfo("Europe/Prague"))
    thursday = thursday.replace(hour=16, minute=0, second=0, microsecond=0).astimezone(at.tzinfo)
    about = {"webinar": f"first-week-{thursday:%Y-%m-%d}"}
    yield Deed(at, person, "webinar.registered", "web", {**about, "starts_at": thursday.isoformat()})
    if random.random() < 0.62:
        yield Deed(thursday + timedelta(minutes=2), person, "webinar.attended", "event", about)


def _beginnings(random: Random, bought_at: datetime, person: Person) -> Iterator[Deed]:
    """The first steps in the product, as far as somebody gets."""
    at = bought_at
    for kind, chance, days in (
        ("services.added", 0.85, 1.5),
        ("booking.received", 0.8, 5),
        ("reminders.enabled", 0.5, 8),
    ):
        if random.random() < chance:
            at += timedelta(days=random.expovariate(1 / days))
            yield Deed(civil_hour(random, at, person), person, kind, "product", {})


def work(random: Random, bought_at: datetime, person: Person, end: datetime) -> Iterator[Deed]:
    """A customer's life in the product; about one in six goes quiet."""
    if random.random() < 0.15:
        end = min(end, bought_at + timedelta(days=random.uniform(5, 20)))
    yield from (deed for deed in _beginnings(random, bought_at, person) if deed.at < end)
    at = bought_at + timedelta(days=random.expovariate(0.5))
    pause = random.uniform(1.2, 9)
    while at < end:
        yield Deed(
            civil_hour(random, at, person), person, "invoice.created", "product", {"amount": random.randrange(15, 90)}
        )
        at += timedelta(days=0.2 + random.expovariate(1 / pause))
