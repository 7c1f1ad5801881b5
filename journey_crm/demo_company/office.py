"""What the company's own people do beside selling, and what visitors decide about mail: each at its day, for real.

A file from a trade fair is imported, doubles are merged, somebody is erased on request. Every act runs the function
that the screens run, at a past moment; who it is about is drawn from the crowd, so that it is the same every time.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from django.contrib.auth import get_user_model
from django.core.files import File

from contacts import columns, exporting, fields, importing, merging, segments, unmerging, webhooks
from contacts.erasure import erase
from contacts.models import Contact, Merge, Segment, Webhook
from contacts.retention import retain
from journey_crm.demo_company.people import Person
from messaging import refusing, signups
from messaging.models import Signup, SignupForm
from messaging.signup_forms import words_in

FOLDER = Path(__file__).parent
_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
# What nobody made a field of yet.
_UNREGISTERED: list[tuple[str, float, Callable[[Random], Any]]] = [
    ("rooms", 0.45, lambda random: random.choice([1, 1, 1, 2, 2, 3, 4])),
    ("heard_from", 0.4, lambda random: random.choice(["a friend", "Instagram", "search", "fair", "accountant"])),
    ("opens_on_sunday", 0.25, lambda random: random.random() < 0.3),
    ("founded_on", 0.2, lambda random: f"{random.randrange(2009, 2026)}-{random.randrange(1, 13):02d}-01"),
]
_INTERESTS = ["online booking", "invoices", "reminders", "waiting list", "gift vouchers", "payroll", "card payments"]
_TOOLS = ["paper", "spreadsheet", "other", "none"]
_ROLES = {"Owner": "Decision maker", "Head of operations": "Decision maker", "Studio manager": "Influencer"}
_FAIR, _KNOWN_OWNER = "beauty-fair-visitors.csv", "jakub.benes19@pilates-salvej-343.example"
_PRIVATE, _NAMESAKES = "Jakub gave his private address at the fair", "Same name and salon"

Act = Callable[[datetime], None]


def told_besides(person: Person) -> dict[str, Any]:
    """What a person's form tells that is no column: of some a custom field, of some a trait that is none yet."""
    random = Random(f"traits {person.number}")
    told: dict[str, Any] = {"company_role": _ROLES.get(person.title, "User")} if person.firm else {}
    if random.random() < 0.5:
        told["booking_tool"] = random.choices(_TOOLS, [5, 4, 3, 2])[0]
    if random.random() < 0.35:
        told["interests"] = random.sample(_INTERESTS, k=random.choice([1, 2, 2, 3]))
    for key, share, value in _UNREGISTERED:
        if random.random() < share:
            told[key] = value(random)
    return told


def acts(crowd: list[Person], start: datetime, end: datetime) -> Iterator[tuple[datetime, Act]]:
    """What happens at which moment of the company's days; an act whose people are not there does nothing."""
    office = _Office(crowd)

    def at(share: float, hour: int, minute: int) -> datetime:
        """That time (UTC) of the working day that lies so far between first and last."""
        day = start + share * (end - start)
        day -= timedelta(days=max(0, day.weekday() - 4))
        return min(day.replace(hour=hour, minute=minute), end - timedelta(minutes=30))

    # The hours rise where one act needs another: in a short life both may fall on one day.
    yield at(0.30, 8, 20), office.prepare_webhook
    yield at(0.79, 7, 10), office.import_fair
    yield at(0.82, 8, 5), office.pick_by_hand
    yield at(0.85, 8, 45), office.merge_doubles
    yield at(0.88, 13, 10), office.part_again
    yield at(0.90, 10, 30), office.take_customers_out
    yield at(0.91, 17, 20), office.pause_and_limit
    yield at(0.92, 18, 15), office.choose_topics
    yield at(0.94, 9, 15), office.forget_somebody
    yield at(0.97, 14, 40), office.take_newsletter_readers_out
    yield end - timedelta(hours=2, minutes=10), office.upload_guests
    yield from office.sign_ups(start, end)


class _Office:
    def __init__(self, crowd: list[Person]):
        users = {user.get_username(): user for user in get_user_model().objects.all()}
        self.karel, self.lenka = users["karel"], users["lenka"]
        last = max(person.arrives for person in crowd)
        # Known for long by the time of the first act; each act has people of its own, and none of the fair's.
        at_fair = (FOLDER / _FAIR).read_text(encoding="utf-8") + _KNOWN_OWNER
        early = [p for p in crowd if p.ends_known and p.arrives < 0.5 * last and p.email not in at_fair]
        self.resting, self.choosing, self.leaving, self.picked = (early[number::4] for number in range(4))
        self.strangers = [person for person in crowd if not person.ends_known and person.arrives < 0.5 * last]
        self.random = Random(f"office {len(crowd)}")

    def _known(self, which: Iterable[Person], most: int) -> list[Contact]:
        """The contacts of the first so many of these people whom we know."""
        found: list[Contact] = []
        for person in which:
            if len(found) < most and (contact := Contact.objects.living().filter(email=person.email).first()):
                found.append(contact)
        return found

    # Files ------------------------------------------------------------------------------------------------------------

    def import_fair(self, now: datetime) -> None:
        """About 120 visitors of a fair: most new, a few known, a few rows that cannot be read."""
        one = self._upload(_FAIR, now)
        one.mapping = columns.guess(one.headers) | {"Day of the fair": "attributes.fair_day"}
        one.constants = {"source": "trade-fair"}
        one.segment = Segment.objects.get(key="beauty-fair")
        one.save()
        importing.run_import(one.pk, now)

    def upload_guests(self, now: datetime) -> None:
        """A draft: somebody is yet to say what its columns mean."""
        one = self._upload("webinar-guests.csv", now)
        one.mapping = columns.guess(one.headers)
        one.save()

    def _upload(self, name: str, now: datetime):
        with (FOLDER / name).open("rb") as file:
            return importing.new_import(name, File(file), started_by=self.karel, created_at=now)

    def take_customers_out(self, now: datetime) -> None:
        self._export(Contact.objects.living().filter(stage="customer"), "xlsx", "stage=customer", now)

    def take_newsletter_readers_out(self, now: datetime) -> None:
        readers = segments.members(Segment.objects.get(key="newsletter-readers"))
        self._export(readers, "csv", "segment=newsletter-readers", now)

    def _export(self, people, format: str, asked: str, now: datetime) -> None:
        wanted = ["id", "email", "first_name", "last_name", "company", "country", "stage", "attributes.interests"]
        blocks = exporting.export(
            people, format=format, wanted=wanted, by=self.karel, door="admin", asked=asked, now=now
        )
        deque(blocks, maxlen=0)

    # Doubles ----------------------------------------------------------------------------------------------------------

    def merge_doubles(self, now: datetime) -> None:
        """At the fair a known owner gave his private address: one person. And two namesakes are taken for one."""
        self._merge("jakub.benes@posta.example", _KNOWN_OWNER, _PRIVATE, now)
        self._merge("p.vesela@salon-radost-brno.example", "petra.vesela@salon-radost-brno.example", _NAMESAKES, now)

    def _merge(self, address: str, other_address: str, reason: str, now: datetime) -> None:
        people = [Contact.objects.living().filter(email=email).first() for email in (address, other_address)]
        if None not in people:
            survivor, loser = merging.older(*people)
            merging.merge(survivor=survivor, loser=loser, reason=reason, by=self.karel, now=now)

    def part_again(self, now: datetime) -> None:
        """The receptionist called: she is the owner's daughter."""
        if made := Merge.objects.filter(reason=_NAMESAKES, undone_at=None).first():
            unmerging.unmerge(made, by=self.karel, now=now)

    # Groups and other systems -----------------------------------------------------------------------------------------

    def pick_by_hand(self, now: datetime) -> None:
        """Some belong to the bigger companies though their record says less, one does not for a while."""
        segment = Segment.objects.get(key="bigger-companies")
        sizes = sorted(((one.firm.employees, one.number, one) for one in self.picked if one.firm), reverse=True)
        growing = [person for employees, _number, person in sizes if employees < 20]
        big = [person for employees, _number, person in sizes if employees >= 20]
        said: dict[str, Any] = {"segment": segment, "by": self.karel, "now": now}
        segments.override(**said, contacts=[one.pk for one in self._known(growing, 3)], is_member=True)
        segments.override(
            **said, contacts=[one.pk for one in self._known(big, 1)], is_member=False,
            expires_at=now + timedelta(days=60),
        )  # fmt: skip

    def prepare_webhook(self, now: datetime) -> None:
        """Switched off from the beginning: nothing leaves the machine of whoever looks at the demo."""
        hook = Webhook.objects.create(
            name="Accounting", url="https://accounting.lumeo.example/hooks/journey", secret=webhooks.make_secret(),
            kinds=webhooks.check_kinds(["order.placed", "lead.converted", "consent.changed"]), origin="accounting",
            made_by=self.lenka, created_at=now,
        )  # fmt: skip
        hook.switch_off("by_hand", now)

    # What people decide -----------------------------------------------------------------------------------------------

    def pause_and_limit(self, now: datetime) -> None:
        resting, busy, choosy = [*self._known(self.resting, 3), None, None, None][:3]
        if resting:
            refusing.choose_limits(contact=resting, paused_until=refusing.end_of_pause("3m", "", resting, now), now=now)
        if busy:
            refusing.choose_limits(contact=busy, most_per_week=1, now=now)
        if choosy:
            until = refusing.end_of_pause("1m", "", choosy, now)
            refusing.choose_limits(contact=choosy, paused_until=until, most_per_week=2, now=now)

    def choose_topics(self, now: datetime) -> None:
        wishes = [{"guides", "service"}, {"newsletter", "guides", "service"}, {"service"}, {"newsletter"}, set()]
        people = self._known(self.choosing, len(wishes))
        for minute, (contact, allowed) in enumerate(zip(people, wishes, strict=False)):
            refusing.choose_topics(
                contact=contact, allowed=allowed, language=contact.language, ip_address=f"192.0.2.{40 + minute}",
                user_agent=_AGENT, now=now,
            )  # fmt: skip

    def forget_somebody(self, now: datetime) -> None:
        for contact in self._known(self.leaving, 1):
            erase(contact, by=self.lenka, now=now)

    def sign_ups(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, Act]]:
        """Strangers sign up for the newsletter by our form; most of them confirm, some the last days still may."""
        for number, person in enumerate(self.strangers[:34]):
            share = 0.5 + 0.49 * (number + self.random.random()) / 34
            asked_at = (start + share * (end - start)).replace(minute=self.random.randrange(60))
            yield asked_at, partial(self._sign_up, person, number)
            if self.random.random() < 0.68:
                confirmed_at = asked_at + timedelta(hours=25 + self.random.expovariate(0.1))
                yield confirmed_at, partial(self._confirm, person, number)

    def _sign_up(self, person: Person, number: int, now: datetime) -> None:
        form = SignupForm.objects.get(key="newsletter")
        words = words_in(form, person.language)
        signups.receive(
            form=form, address=person.email, traits={"first_name": person.first_name}, language=person.language,
            words="\n".join([words["title"], words["text"], words["consent"]]), is_hasty=False,
            ip_address=f"198.51.100.{number + 10}", user_agent=_AGENT, now=now,
        )  # fmt: skip

    def _confirm(self, person: Person, number: int, now: datetime) -> None:
        row = Signup.objects.filter(address=person.email, confirmed_at=None).order_by("-pk").first()
        if row is not None:
            signups.confirm(signup=row.pk, ip_address=f"198.51.100.{number + 10}", user_agent=_AGENT, now=now)


def close_the_day(now: datetime) -> None:
    """What workers do by night: traits are counted, and the rules of retention walk over what is old."""
    fields.count_traits(now)
    retain(now)
