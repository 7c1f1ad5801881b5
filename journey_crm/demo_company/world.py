"""Ninety days of the demo company, lived through the real engine: inbox, tick, delivery, and people who answer."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from heapq import heapify, heappop, heappush
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection

from campaigns.models import Draft, Journey
from contacts.consent import record_consent
from contacts.models import Contact, Import, Incoming
from growth.models import Product
from growth.orders import record_orders
from journey_crm import as_code
from journey_crm.demo_company import LOGINS, marketing, office, returns, sales
from journey_crm.demo_company.life import Deed, civil_hour, lives, webinar, work
from journey_crm.demo_company.people import Person, people, phone_of
from journey_crm.demo_company.reading import Links, clicked, opened, scanned
from journey_crm.roles import ensure_roles
from journey_crm.tick import tick
from leads.models import Lead
from messaging import gathering, nightly, refusing
from messaging.delivery import deliver
from messaging.gathering import Taken
from messaging.models import Message

DAYS = 90
COUNT = 2200
# The hours (in Prague) at which the virtual clock stops, by weekday: in the morning, when mail leaves (those of the nurture
# track's casts with them), in the middle of the week in the afternoon too; over a weekend never. Each stop costs a third of
# a second, so there are no more than the company's life needs.
HOURS = [[10], [10], [10, 16], [10], [10], [], []]
_ZONE = ZoneInfo("Europe/Prague")
_SOURCE = "demo"
# After so many stops the planner is told how the tables grew, for nobody waits for the database to notice by itself.
ANALYSED = {4, 16, 48}
# How much likelier than others people click in these mails: the film is what the trial's experiment finds out.
_APPEAL = {
    "trial-film": 2.4,
    "trial-checklist": 0.9,
    "stuck": 2.0,
    "miss-you": 2.0,
    "renewal-soon": 2.2,
    "pro-offer": 1.8,
}
# What a click in a mail leads to in the product: the deed, how likely, after how many days on average.
_FOLLOWING = {
    "put-in-services": ("services.added", 0.6, 0.5),
    "share-page": ("booking.received", 0.6, 3),
    "stuck": ("booking.received", 0.5, 2),
    "miss-you": ("invoice.created", 0.5, 1),
}
_QUARTER = timedelta(days=91)
# Why people leave, in their own words where they have any.
_REASONS = [
    ("too-often", ""),
    ("too-often", "Once a month would do."),
    ("not-relevant", ""),
    ("not-relevant", "We closed the studio in autumn."),
    ("never-asked", ""),
    ("other", "My colleague gets the same mails."),
]


def reset() -> None:
    """Empties every table of ours, with the files of imports, but the users' and what migrations and mails sent long ago rely on."""
    for one in Import.objects.exclude(file=""):
        one.file.delete(save=False)
    kept = {"contacts.ErasureKey", "contacts.Zone", "messaging.SigningKey"}
    labels = ["contacts", "scoring", "messaging", "growth", "leads", "campaigns", "insights"]
    tables = [
        connection.ops.quote_name(model._meta.db_table)
        for label in labels
        for model in apps.get_app_config(label).get_models(include_auto_created=True)
        if model._meta.label not in kept and model._meta.managed and not model._meta.proxy
    ]
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY CASCADE")


def make_users() -> None:
    """The people of `LOGINS` with their roles; who exists already keeps his password."""
    ensure_roles()
    for username, password, (first_name, last_name), role in LOGINS:
        user, is_new = get_user_model().objects.get_or_create(
            username=username,
            defaults={
                "first_name": first_name,
                "last_name": last_name,
                "email": f"{username}@lumeo.example",
                "is_staff": role != "Sales rep",
                "is_superuser": role == "Administrator",
            },
        )
        if is_new:
            user.set_password(password)
            user.save(update_fields=["password"])
        user.groups.add(Group.objects.get(name=role))


def build(*, now: datetime, count: int = COUNT, days: int = DAYS, say: Callable[[float, str], object]) -> None:
    """Makes the company and lives its last `days` days up to `now`; `say(share, text)` hears how far it is."""
    end = now.replace(minute=0, second=0, microsecond=0)
    start = end - timedelta(days=days)
    random = Random(f"lumeo {count} {days}")
    with connection.cursor() as cursor:
        # Thousands of small commits; what a crash would lose is made again from the start anyway.
        cursor.execute("SET synchronous_commit = off")
    make_users()
    folder = Path(__file__).parent
    files = ["company.yaml", "journeys.yaml", "messages.yaml", "sales.yaml"]
    documents = [as_code.read((folder / name).read_text(encoding="utf-8"), name) for name in files]
    as_code.apply(documents, is_publish=True, now=start)
    # A file is applied by the wall's clock.
    Draft.objects.update(made_at=start)
    Journey.objects.update(created_at=start)
    crowd = people(random, count, days)
    world = _World(random, crowd, lives(random, crowd, start, end), start, end)
    deeds = [office.acts(crowd, start, end), marketing.acts(start, end), returns.acts(start, end), world.sales.acts()]
    for moment, act in chain.from_iterable(deeds):
        world.plan(moment, act)
    stops = list(_stops(start, end))
    for number, moment in enumerate(stops, start=1):
        world.live_until(moment)
        if number in ANALYSED:
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE")
        say(number / len(stops), f"{moment:%d %B}")
    marketing.finish(end)
    # Nobody is asked about links: those of the demo lead nowhere.
    nightly.lint(end, asks_links=False)
    marketing.mute_finding(end)
    office.close_the_day(end)
    sales.learn(end)


def _stops(start: datetime, end: datetime) -> Iterator[datetime]:
    moment = start
    while moment < end:
        moment += timedelta(hours=1)
        local = moment.astimezone(_ZONE)
        # Twice on the last day: what ends by one stop shows as ended after the next.
        if local.hour in HOURS[local.weekday()] or moment == end - timedelta(hours=2) or moment >= end:
            yield moment


class _World:
    """What is still to come, and who is who; everything else stands in the database."""

    def __init__(self, random: Random, crowd: list[Person], deeds: list[Deed], start: datetime, end: datetime):
        self.random = random
        self.end = end
        self.by_email = {person.email: person for person in crowd}
        self.products = {product.key: product for product in Product.objects.all()}
        self.orders = 0
        # Told together at the next stop.
        self.ordered: list[dict[str, Any]] = []
        self.hits: list[Taken] = []
        self.returns = returns.Returns(start, end)
        self.links = Links()
        # A heap of (moment, number, what to do): the number keeps equal moments in the order they were planned.
        self.plans: list[tuple[datetime, int, Callable[[datetime], Incoming | None]]] = []
        self.number = 0
        self.sales = sales.Sales(start, end, self.plan, self._win)
        for deed in deeds:
            self._intend(deed)
        heapify(self.plans)

    def plan(self, at: datetime, what: Callable[[datetime], Incoming | None]) -> None:
        self.number += 1
        heappush(self.plans, (at, self.number, what))

    def _intend(self, deed: Deed) -> None:
        self.plan(deed.at, lambda moment: self._do(deed))

    def live_until(self, moment: datetime) -> None:
        """Everything planned up to the moment happens; then the clock's work: tick, mail, answers, sales."""
        incoming = []
        while self.plans and self.plans[0][0] <= moment:
            at, _, what = heappop(self.plans)
            if row := what(at):
                incoming.append(row)
        Incoming.objects.bulk_create(incoming, batch_size=2000)
        self._write_down(moment)
        tick(moment)
        if Message.objects.filter(state="ready", due_at__lte=moment).exclude(channel="onsite").exists():
            self.returns.worker_dies(moment)
            if deliver(now=moment):
                self._read_mail(moment)
        returns.visit(moment)
        self.sales.turn_to(moment)
        self.sales.do_tasks(moment)
        self.sales.mail(moment)

    def _write_down(self, moment: datetime) -> None:
        """What waits to be told as sets: orders, and clicks and opens."""
        if self.ordered:
            record_orders(self.ordered, source=_SOURCE, now=moment)
        if self.hits:
            gathering.write(self.hits)
        self.ordered, self.hits = [], []

    # What people do -----------------------------------------------------------------------------------------------

    def _do(self, deed: Deed) -> Incoming | None:
        if deed.kind == "order.placed":
            self._buy(deed.person, deed.properties["products"], deed.at)
            return None
        if deed.properties.get("form") == "newsletter" and self.random.random() < 0.7:
            self.plan(deed.at + timedelta(days=1, minutes=20), lambda at: self._confirm_newsletter(deed.person, at))
        return self._event(deed.person, deed.kind, deed.channel, deed.at, deed.properties, deed.identifies, deed.told)

    def _event(
        self,
        person: Person,
        kind: str,
        channel: str,
        at: datetime,
        properties: dict[str, Any],
        identifies: bool = False,
        told: dict[str, Any] | None = None,
    ) -> Incoming:
        self.number += 1
        traits = _traits(person) if identifies else {"email": person.email} if told else None
        if traits and told:
            traits |= told
        return Incoming(
            source=_SOURCE,
            message_id=f"demo-{self.number}",
            kind=kind,
            channel=channel,
            occurred_at=at,
            received_at=at,
            anonymous_id=person.anonymous_id,
            email=person.email if identifies or told else "",
            traits=traits,
            properties=properties,
        )

    def _buy(self, person: Person, keys: list[str], at: datetime) -> None:
        self.orders += 1
        lines = [{"product": key, "quantity": 1, "price": str(self.products[key].price)} for key in keys]
        total = sum((self.products[key].price or Decimal(0) for key in keys), start=Decimal(0))
        self.ordered.append(
            {
                "number": f"L{self.orders:05d}",
                "email": person.email,
                "total": str(total),
                "currency": "EUR",
                "placed_at": at.isoformat(),
                "lines": lines,
            }
        )
        if plan := next((key for key in keys if key in ("start", "pro")), None):
            self.plan(at + timedelta(minutes=1), lambda at: self._begin_plan(person, plan, at))

    def _begin_plan(self, person: Person, plan: str, at: datetime, kind: str = "plan.started") -> Incoming:
        """A plan is paid for a quarter."""
        total = 3 * float(self.products[plan].price or 0)
        told = {"plan": plan, "renewal_on": (at + _QUARTER).date().isoformat()}
        return self._event(person, kind, "product", at, {"plan": plan, "total": total}, told=told)

    def _confirm_newsletter(self, person: Person, at: datetime) -> None:
        """The link in the mail that asks for it was pressed."""
        contact = Contact.objects.living().filter(email=person.email).first()
        if contact:
            record_consent(
                contact=contact, topic="newsletter", channel="email", state="granted", source="form:newsletter",
                is_proven=True, now=at,
            )  # fmt: skip

    # How they read mail ---------------------------------------------------------------------------------------------

    def _read_mail(self, moment: datetime) -> None:
        # Not in the order of their numbers, which a set of rows draws by lot: the dice must fall alike in every run.
        sent = Message.objects.filter(sent_at=moment, channel="email").select_related("template").defer("context")
        is_scanned, verdicts = moment > self.end - timedelta(days=30), []
        for message in sent.order_by("address", "template__key"):
            person = self.by_email.get(message.address)
            if person is None:
                continue
            if verdict := self.returns.verdict(message, person, moment + timedelta(minutes=8)):
                verdicts.append(verdict)
            if is_scanned and not verdict:
                self.hits += scanned(message, person, self.links.of(message, moment), moment)
            if self.returns.comes_back(person) or self.random.random() > person.opens:
                continue
            self._open(person, message, moment + timedelta(hours=self.random.expovariate(0.35), minutes=3))
        if verdicts:
            self.plan(moment + timedelta(minutes=9), returns.planned(verdicts))

    def _hit(self, hit: Taken) -> None:
        """Seen by the tick after it happened."""
        self.plan(hit.hit_at, lambda at: self.hits.append(hit))

    def _open(self, person: Person, message: Message, at: datetime) -> None:
        self._hit(opened(message, person, at))
        if self.random.random() < person.clicks * _APPEAL.get(message.template.key, 1):
            self._click(person, message, at + timedelta(seconds=self.random.randrange(20, 300)))
        elif message.message_class == "marketing" and self.random.random() < 0.012:
            self.plan(at + timedelta(minutes=1), lambda at: self._unsubscribe(message.contact_id, at))

    def _click(self, person: Person, message: Message, at: datetime) -> None:
        links = self.links.of(message, at)
        if not links:
            return
        link, url = links[0]
        self._hit(clicked(message, person, link, at))
        path = urlsplit(url).path
        page = {"url": url, "path": path, "title": path.rsplit("/", 1)[-1]}
        self.plan(at + timedelta(seconds=4), lambda at: self._event(person, "page.viewed", "web", at, page))
        if message.template.key == "webinar-invite" and self.random.random() < 0.6:
            for deed in webinar(self.random, at + timedelta(minutes=4), person):
                self._intend(deed)
        if message.template.key in _FOLLOWING:
            kind, chance, days = _FOLLOWING[message.template.key]
            if self.random.random() < chance:
                later = civil_hour(self.random, at + timedelta(days=1 + self.random.expovariate(1 / days)), person)
                properties = {"amount": self.random.randrange(15, 90)} if kind == "invoice.created" else {}
                self._intend(Deed(later, person, kind, "product", properties))
        if message.template.key == "renewal-soon" and self.random.random() < 0.7:
            self.plan(at + timedelta(minutes=9), lambda at: self._begin_plan(person, "start", at, kind="plan.renewed"))
        if message.template.key == "pro-offer" and self.random.random() < 0.4:
            products = message.context.get("offer", {}).get("products") or ["pro"]
            self.plan(at + timedelta(hours=20), lambda at: self._buy(person, products, at))
        if message.template.key in ("savings", "demo-invite") and self.random.random() < 0.35:
            self.plan(
                at + timedelta(minutes=6),
                lambda at: self._event(person, "demo.requested", "web", at, {"url": "https://lumeo.example/demo"}),
            )

    def _unsubscribe(self, contact_id: int, at: datetime) -> None:
        """By the link in the mail or by the button beside it; most say why, some in words."""
        contact = refusing.living(contact_id)
        if contact is None:
            return
        dice = Random(f"leaves {contact.email}")
        refusing.refuse_all(contact=contact, source=dice.choice(["one-click", "unsubscribe-page"]), now=at)
        if dice.random() < 0.75:
            why, comment = dice.choice(_REASONS)
            refusing.explain_leaving(contact=contact, why=why, comment=comment, now=at + timedelta(seconds=40))

    # What sales does ------------------------------------------------------------------------------------------------

    def _win(self, lead: Lead, is_ordered: bool, moment: datetime) -> None:
        """Whoever sales won begins a plan; most order it in the shop."""
        person = self.by_email.get(lead.contact.email)
        if person is None:
            return
        plan = "start" if self.random.random() < 0.7 else "pro"
        if is_ordered:
            self.plan(moment + timedelta(minutes=1), lambda at: self._begin_plan(person, plan, at))
        else:
            self._buy(person, [plan], moment)
        for deed in work(self.random, moment, person, self.end):
            self._intend(deed)


def _traits(person: Person) -> dict[str, Any]:
    traits: dict[str, Any] = {
        "email": person.email,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "salutation": person.salutation,
        "language": person.language,
        "country": person.country,
        "timezone": person.zone,
        "job_title": person.title,
        **office.told_besides(person),
    }
    if phone := phone_of(person):
        traits["phone"] = phone
    if person.firm:
        traits["company"] = {
            "name": person.firm.name,
            "domain": person.firm.domain,
            "country": person.firm.country,
            "employees": person.firm.employees,
        }
    return traits
