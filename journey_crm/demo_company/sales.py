"""What the reps do: they answer what routing gives them, telephone, win and give back; each move by its own function.

A rep's day lies between the stops of the clock, at moments of the rep's working time. What comes of a lead is drawn
from dice of its own, so that it does not depend on the order in which the database answers.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import cycle
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib.auth import get_user_model
from django.db.models import Q

from leads import activities, desk, digest, holding, mails, moves, routing, tasks
from leads.models import Absence, AlertPreference, Lead, RejectReason, Rep, Task, Team
from scoring import training

Act = Callable[[datetime], None]
_ZONE = ZoneInfo("Europe/Prague")
# Won is who became a customer within so long: a life of 90 days has enough of these windows behind it.
WINDOW = timedelta(days=14)
# The last of the leads wait for whoever looks at the demo.
_LEFT = timedelta(hours=30)
_NOTES = [
    "Two rooms, three trainers. Wants to know how card payments work.",
    "Uses a paper diary; her sister keeps a spreadsheet of the invoices.",
    "Decides with her husband, both on Thursday evening.",
    "Has a contract with another tool until the end of the quarter.",
    "Wants to see the waiting list before anything else.",
    "Asked for a price for five people, paid by year.",
]
_TALKS = [
    "Showed the calendar; liked the reminders. Sends her price list.",
    "Good talk. Wants an offer in writing.",
    "Compares us with one other. Price matters less than support.",
    "Has questions about moving the old bookings over.",
]
_BACK = ["In a class until noon.", "Asked me to try again after the weekend.", "Drives just now."]


class Sales:
    """The reps, and what they mean to do; `plan` puts it into the company's days, `win` is what a customer does then."""

    def __init__(
        self,
        start: datetime,
        end: datetime,
        plan: Callable[[datetime, Act], None],
        win: Callable[[Lead, bool, datetime], None],
    ) -> None:
        self.start, self.end, self.plan, self.win = start, end, plan, win
        # One object for each, which remembers what its user may do.
        self.people: dict[int | None, Any] = {user.pk: user for user in get_user_model().objects.order_by("username")}
        self.named = {user.get_username(): user for user in self.people.values()}
        reasons = list(RejectReason.objects.all())
        self.reasons, self.final = (
            [one for one in reasons if not one.is_final],
            [one for one in reasons if one.is_final],
        )
        self.teams = {team.pk: team for team in Team.objects.all()}

    def acts(self) -> Iterator[tuple[datetime, Act]]:
        """What happens in the office of sales at which moment."""

        def day(share: float) -> datetime:
            return self.start + share * (self.end - self.start)

        yield self.start, self.choose_alerts
        yield day(0.2), self.marek_joins
        yield day(0.45), partial(self.goes_away, "ania", day(0.5), 6, "Holiday")
        yield self.end - timedelta(hours=26), self.prepare_the_last_day
        yield day(0.85), partial(self.goes_away, "marek", self.end - timedelta(days=1), 8, "Climbing in the Tatras")

    def choose_alerts(self, now: datetime) -> None:
        wishes: dict[str, dict[str, Any]] = {
            "petr": {"hot": "now"},
            "ania": {"hot": "digest", "language": "pl"},
            "lenka": {"hot": "now", "is_for_all": True},
        }
        for name, wish in wishes.items():
            AlertPreference.objects.get_or_create(user=self.named[name], defaults=wish)

    def marek_joins(self, now: datetime) -> None:
        """He takes what fits nobody else, and some of the Czech team's."""
        for team, capacity in (("chains", 20), ("czech-sales", 15)):
            Rep.objects.create(team=Team.objects.get(key=team), user=self.named["marek"], capacity=capacity)

    def goes_away(self, name: str, first: datetime, days: int, reason: str, now: datetime) -> None:
        Absence.objects.create(
            user=self.named[name], first_day=first.date(), last_day=first.date() + timedelta(days=days), reason=reason
        )

    def _day(self, moment: datetime) -> int:
        """The day of the company's life: dice fall alike whatever the calendar says."""
        return (moment - self.start).days

    # Every day --------------------------------------------------------------------------------------------------------

    def turn_to(self, moment: datetime) -> None:
        """Each rep looks at what routing has just given, and again at what stays too long.

        Of what nobody has, somebody takes some after a day.
        """
        a_day_ago = moment - timedelta(hours=20)
        fresh = Q(assigned_at=moment) | Q(assigned_to=None, created_at__lt=a_day_ago) | Q(due_at__lt=a_day_ago)
        # By the people, not by numbers, which a set of rows may draw by lot.
        for lead in Lead.objects.unclaimed().filter(fresh).select_related("contact").order_by("contact__email"):
            dice = Random(f"answers {lead.contact.email} {lead.reassigned} {self._day(moment)}")
            if lead.assigned_to_id is None:
                if dice.random() < 0.3 and moment < self.end - _LEFT:
                    self._later(lead, self.named["petr"], moment, 0.5, partial(self._take, lead.pk, self.named["petr"]))
                continue
            rep = self.people[lead.assigned_to_id]
            chance = 0.9 if moment < self.end - timedelta(hours=10) else 0.45
            if dice.random() < chance:
                # Some in the same hour, most before noon, a few when it is too late.
                hours = dice.choice([0.2, 0.6, 0.9, 1.4, 1.8, 2.4, 3.1, 3.6, 5.5])
                self._later(lead, rep, moment, hours, partial(self._take, lead.pk, rep))

        # What a rep claimed and forgot, and nobody else takes, comes to mind again.
        forgotten = Lead.objects.filter(state="claimed", due_at__lt=a_day_ago).exclude(owner=None)
        for lead in forgotten.select_related("contact").order_by("contact__email"):
            rep = self.people[lead.owner_id]
            self._later(lead, rep, moment, 0.5, partial(self._accept, lead.pk, rep))

    def _later(self, lead: Lead, rep: Any, moment: datetime, hours: float, act: Act) -> None:
        """Plans an act after so many hours of the rep's working time."""
        calendar = routing.calendar_of(self.teams[lead.team_id], None, ()) if lead.team_id else None
        at = calendar.add(moment, timedelta(hours=hours)) if calendar else moment + timedelta(hours=hours)
        if at is not None and at < self.end:
            self.plan(at, act)

    def _take(self, number: int, rep: Any, now: datetime) -> None:
        lead = Lead.objects.select_related("contact").filter(pk=number, state="open", owner=None).first()
        if lead is None or lead.assigned_to_id not in (None, rep.pk):
            return
        dice = Random(f"takes {lead.contact.email} {self._day(now)}")
        fate = dice.random()
        if fate < 0.55 and lead.assigned_to_id == rep.pk:
            self._accept(number, rep, now)
            return
        lead = desk.claim(lead=lead, by=rep, now=now)
        if 0.55 <= fate < 0.59:
            # The wrong line of the list: undone at once, and left to whose turn it is.
            self.plan(now + timedelta(minutes=2), partial(self._slip, number, rep))
        elif fate < 0.86:
            self.plan(now + timedelta(minutes=dice.randrange(3, 40)), partial(self._accept, number, rep))
        elif fate < 0.95:
            self.plan(now + timedelta(minutes=dice.randrange(15, 90)), partial(self._give_back, number, rep))

    def _slip(self, number: int, rep: Any, now: datetime) -> None:
        if lead := self._mine(number, rep):
            with suppress(desk.DeskError):
                moves.undo(lead=lead, by=rep, now=now)

    def _mine(self, number: int, rep: Any) -> Lead | None:
        """A lead that is still this rep's."""
        mine = Lead.objects.unfinished().owned_by(rep).select_related("contact")
        return mine.filter(pk=number).first()

    def _accept(self, number: int, rep: Any, now: datetime) -> None:
        lead = Lead.objects.takeable_by(rep).select_related("contact").filter(pk=number).first()
        if lead is None:
            return
        dice = Random(f"accepts {lead.contact.email} {self._day(lead.created_at)}")
        desk.accept(lead=lead, by=rep, now=now)
        if dice.random() < 0.45:
            self.plan(now + timedelta(minutes=dice.randrange(2, 50)), partial(self._call, number, rep))
        # Won by more than every second, sooner or later; a few are never decided.
        fate, days = dice.random(), 2 + dice.expovariate(1 / 11)
        act = self._win if fate < 0.52 else self._give_back if fate < 0.9 else None
        if act:
            self._in_office(now + timedelta(days=days), partial(act, number, rep))

    def _in_office(self, at: datetime, act: Act) -> None:
        """Plans an act at that time of a working day."""
        at += timedelta(days=max(0, 7 - at.weekday()) if at.weekday() > 4 else 0)
        if at < self.end:
            self.plan(at, act)

    def _call(self, number: int, rep: Any, now: datetime) -> None:
        if (lead := self._mine(number, rep)) is None or lead.state != "accepted":
            return
        dice = Random(f"calls {lead.contact.email} {self._day(now)}")
        outcome = dice.choices(["reached", "no_answer", "call_back", "wrong_number"], [52, 28, 14, 6])[0]
        back_at = now + timedelta(days=dice.choice([1, 1, 2, 3]), hours=1)
        if outcome == "reached":
            activities.call(lead=lead, by=rep, now=now, outcome=outcome, body=dice.choice(_TALKS))
            if dice.random() < 0.4:
                activities.note(lead=lead, by=rep, now=now + timedelta(minutes=4), body=dice.choice(_NOTES))
        elif outcome == "wrong_number":
            activities.call(lead=lead, by=rep, now=now, outcome=outcome)
        else:
            words = dice.choice(_BACK) if outcome == "call_back" else ""
            activities.call(lead=lead, by=rep, now=now, outcome=outcome, body=words, back_at=back_at)
            self._in_office(back_at + timedelta(minutes=dice.randrange(5, 50)), partial(self._call_again, number, rep))

    def _call_again(self, number: int, rep: Any, now: datetime) -> None:
        """The task of the first call is done by the second."""
        if (lead := self._mine(number, rep)) is None:
            return
        task = Task.objects.open().filter(contact_id=lead.contact_id, assignee=rep, source="sales").first()
        if task:
            tasks.finish(task=task, by=rep, now=now)
        self._call(number, rep, now + timedelta(minutes=3))

    def _give_back(self, number: int, rep: Any, now: datetime) -> None:
        if (lead := self._mine(number, rep)) is None:
            return
        dice = Random(f"rejects {lead.contact.email} {self._day(now)}")
        reasons = self.final if dice.random() < 0.08 and self.final else self.reasons
        desk.reject(lead=lead, by=rep, now=now, reason=dice.choice(reasons))

    def _win(self, number: int, rep: Any, now: datetime) -> None:
        lead = self._mine(number, rep)
        if lead is None or lead.state != "accepted":
            return
        dice = Random(f"wins {lead.contact.email}")
        value = Decimal(dice.choice([144, 144, 348, 497]))
        # Of most the shop tells the order itself; what was sold on paper is an order by its number.
        number_on_paper = f"P{lead.created_at:%m%d}-{dice.randrange(100, 999)}" if dice.random() < 0.2 else ""
        desk.convert(lead=lead, by=rep, now=now, value=value, order_number=number_on_paper)
        self.win(lead, bool(number_on_paper), now)

    def do_tasks(self, moment: datetime) -> None:
        """In the morning the reps do some of what they were asked to do; the newest tasks wait for you."""
        if moment.weekday() > 4 or moment.astimezone(_ZONE).hour != 10 or moment > self.end - _LEFT:
            return
        reps = cycle([self.named["petr"], self.named["ania"]])
        # What reps asked of themselves they do at its time, and only then here.
        by_reps = Q(source="sales") & ~Q(due_at__lt=moment - timedelta(hours=20))
        waiting = Task.objects.open().exclude(by_reps).filter(created_at__lt=moment - timedelta(hours=20))
        for task in waiting.select_related("contact").order_by("contact__email", "created_at", "title"):
            dice = Random(f"does {task.contact.email} {task.title} {self._day(moment)}")
            if dice.random() < (0.85 if task.due_at and task.due_at < moment else 0.35):
                by = self.people[task.assignee_id] if task.assignee_id else next(reps)
                with suppress(desk.DeskError):
                    tasks.finish(task=task, by=by, now=moment)

    # The last days ----------------------------------------------------------------------------------------------------

    def prepare_the_last_day(self, now: datetime) -> None:
        """A day before the end: of the work in hand some sleeps, some is due today, and marketing is held for one."""
        for name in ("petr", "ania", "lenka"):
            rep = self.named[name]
            mine = Lead.objects.owned_by(rep).filter(state="accepted", snoozed_until=None).select_related("contact")
            naps = [
                (self.end - timedelta(hours=2), "Is back from holiday in the morning"),
                (self.end + timedelta(hours=4), "Asked for a call in the afternoon"),
                (self.end + timedelta(days=6), "Decides after the board meets"),
            ]
            work = list(mine.order_by("-accepted_at", "contact__email")[:6])
            for lead, (until, reason) in zip(work, naps, strict=False):
                desk.snooze(lead=lead, by=rep, now=now, until=until, reason=reason)
            for lead, title in zip(work[3:], ("Send the offer in writing", "Ask about the old bookings"), strict=False):
                due_at = self.end + timedelta(hours=3 if "offer" in title else -4)
                tasks.make(contact=lead.contact, title=title, by=rep, now=now, due_at=due_at)
                activities.note(lead=lead, by=rep, now=now, body=Random(f"{title} {name}").choice(_NOTES))
            for lead in work[5:]:
                holding.hold_marketing(
                    lead=lead, by=rep, now=now, until=self.end + timedelta(days=10), reason="In the middle of a deal"
                )

    def mail(self, moment: datetime) -> None:
        """Mails to sales leave in the last days; what is older waits for nobody, for nobody looked then."""
        if moment > self.end - timedelta(days=2, hours=12):
            digest.plan_digests(moment)
            mails.deliver_mails(moment)


def learn(now: datetime) -> None:
    """Trains the prediction if its extra is installed; else the page says how."""
    if training.is_installed():
        training.ask(now, window=WINDOW, by=get_user_model().objects.get(username="karel"))
        training.train_if_due(now)
