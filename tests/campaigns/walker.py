"""The walker: one person on one journey, in plain Python. What it tells is what the engine must do.

It is written from the documentation, not from the SQL, and knows no database, no sets and no planner: one person, one
step after the other. It is told what happens, and when the clock ticks; it tells the path, the messages and the end.

    ann = Walker(definition, {"id": 7, "zone": "Asia/Tokyo", "attributes": {"plan": "pro"}})
    ann.does("trial.started", at, {})
    ann.tick(now)
    ann.enrolments[0].path                      # [("", "next", now), ("hello", …)]

Rules are asked of the twin (tests/contacts/twin.py). `test_walker.py` demands of the engine the same histories.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.campaigns.clocks import later, span, until
from tests.contacts import twin

HOUSE_ZONE = "Europe/Prague"
GRACE = timedelta(hours=24)
# What a message's end means for who rests at its send: it left (perhaps), or it will not.
LEFT = {"sent", "uncertain"}
OVER = {*LEFT, "skipped", "failed", "cancelled"}
# Another day may help: worth another try, day by day for a week, where a step says `on_skip: wait`.
PASSING = {
    "capped", "expired", "paused", "quiet_hours", "no_consent", "no_address", "invalid_address", "render_error",
    "no_brand", "gave_up",
}  # fmt: skip


@dataclass
class Message:
    template: str
    step: str
    round: int
    made_at: datetime
    due_at: datetime
    state: str = "pending"
    reason: str = ""


@dataclass
class Enrolment:
    key: str
    number: int  # of the touchpoint that let her in
    at: datetime
    since: datetime  # what she did from here on counts
    is_ghost: bool
    step: str | None = ""
    round: int = 1
    came_at: datetime | None = None
    reason: str = ""
    ended_at: datetime | None = None
    goal_at: datetime | None = None
    path: list[tuple[str, str, datetime]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return not self.reason


class Walker:
    """One person. `fields` gives the types of the custom fields that rules may ask about."""

    def __init__(self, definition: dict, person: dict, fields: dict[str, str] | None = None):
        self.journey, self.person, self.fields = definition, {"touchpoints": [], **person}, fields or {}
        self.zone = person.get("zone") or HOUSE_ZONE
        self.steps: dict[str, dict] = {}
        self.following: dict[str, str | None] = {}
        self.first = self._lay(definition["steps"], None)
        self.enrolments: list[Enrolment] = []
        self.told: list[tuple[str, datetime]] = []
        self.seen = 0
        self.is_paused = False

    def _lay(self, steps: list[dict], onward: str | None) -> str | None:
        """Each step's follower: a path that does not end the journey joins the step after its fork."""
        for place, step in enumerate(steps):
            ahead = steps[place + 1]["key"] if place + 1 < len(steps) else onward
            self.steps[step["key"]], self.following[step["key"]] = step, ahead
            step["ways"] = {label: self._lay(step.get(label) or [], ahead) for label in labels(step)}
        return steps[0]["key"] if steps else onward

    # What happens to her --------------------------------------------------------------------------------------------

    def does(self, kind: str, at: datetime, properties: dict, received: datetime | None = None) -> None:
        """Something happened, and we heard of it."""
        self.person["touchpoints"].append({
            "number": len(self.person["touchpoints"]) + 1, "kind": kind, "occurred_at": at, "is_machine": False,
            "received_at": received or at, "properties": properties,
        })  # fmt: skip

    def changes(self, name: str, value: object, at: datetime) -> None:
        """A custom field of hers has another value."""
        before = self.person["attributes"].get(name)
        now = {**self.person["attributes"], name: value}
        self.person["attributes"] = {key: said for key, said in now.items() if said is not None}
        if before != value:
            self.does("contact.updated", at, {"fields": [name]})

    def deliver(self, verdict, now: datetime) -> None:
        """What becomes of each message that is due: `verdict(message)` is its end with the reason, or None for not yet.

        A pause holds messages back; nothing leaves for who is held out.
        """
        for one in self.enrolments:
            for message in one.messages:
                is_due = message.state == "pending" and message.due_at <= now and not self.is_paused
                if is_due and (end := verdict(message)):
                    message.state, message.reason = ("skipped", "holdout") if one.is_ghost else end

    # The tick --------------------------------------------------------------------------------------------------------

    def tick(self, now: datetime, steps: tuple[str, ...] = ("enrol", "advance")) -> None:
        """One tick. `steps` are those that succeeded: a step that broke did nothing, and the next tick does it."""
        if "enrol" in steps:
            self._leave_by_rule(now)
            news, self.seen = self.person["touchpoints"][self.seen :], len(self.person["touchpoints"])
            if not self.is_paused:
                self._let_in(news, now)
        if "advance" in steps:
            self._leave_by_rule(now)
            for enrolment in [] if self.is_paused else self.enrolments:
                while enrolment.is_open and (way := self._way_on(enrolment, now)):
                    self._go(enrolment, way, now)
                    self._leave_by_rule(now)  # what the step did may be her goal, or her way out

    def _let_in(self, news: list[dict], now: datetime) -> None:
        """Triggers, each event once; the first of several in one tick. Re-entry is asked for each occasion."""
        rule = self.journey.get("reentry") or {"policy": "never"}
        tried = set()
        for event in news:
            if event["occurred_at"] < event["received_at"] - GRACE or not self._is_trigger(event, now):
                continue
            key = str(event["properties"].get(rule["key"]) or "") if rule["policy"] == "per_key" else ""
            before = [one for one in self.enrolments if rule["policy"] != "per_key" or one.key == key]
            if rule["policy"] == "after_exit":
                before = [one for one in before if one.is_open or one.ended_at > now - span(rule.get("cooldown", "0m"))]
            if key in tried or before:
                continue
            tried.add(key)
            held_out = int(str(self.journey.get("holdout", 0)).rstrip(" %"))
            self.enrolments.append(Enrolment(
                key, event["number"], now, min(now, event["occurred_at"]), came_at=now,
                is_ghost=bucket_of(f"holdout:{self.journey['key']}", self.person["id"]) < held_out,
            ))  # fmt: skip

    def _is_trigger(self, event: dict, now: datetime) -> bool:
        triggers = self.journey["trigger"]
        for trigger in triggers if isinstance(triggers, list) else [triggers]:
            if "touchpoint" in trigger:
                where = trigger.get("where", [])
                fits = all(twin.property_is(one, event["properties"], now) for one in where)
                if event["kind"] == trigger["touchpoint"] and fits:
                    return True
            else:
                change = trigger["field_changed"]
                change = {"field": change} if isinstance(change, str) else change
                told = event["kind"] == "contact.updated" and change["field"] in event["properties"]["fields"]
                if told and ("to" not in change or self.person["attributes"].get(change["field"]) == change["to"]):
                    return True
        return False

    def _leave_by_rule(self, now: datetime) -> None:
        """A goal goes before an exit rule; both act at once, wherever she stands, also in a pause."""
        goal, exit_rule = self.journey.get("goal"), self.journey.get("exit")
        for one in self.enrolments:
            if goal and one.goal_at is None and self._is_reached(goal, one, now):
                one.goal_at = now
            if one.is_open and goal and one.goal_at and goal.get("action", "exit") == "exit":
                self._end(one, "goal", now, "goal_reached")
            elif one.is_open and exit_rule and self._has_come(exit_rule, one, one.since, now):
                self._end(one, "exit_rule", now, "exited")

    def _is_reached(self, goal: dict, one: Enrolment, now: datetime) -> bool:
        """Without a window while she is under way; else within it, also after she left, by when it happened."""
        if "window" not in goal:
            return one.is_open and self._has_come(goal["rule"], one, one.since, now)
        until = one.at + span(goal["window"])
        in_time = now <= until + (GRACE if "did" in goal["rule"] else timedelta())
        return in_time and self._has_come(goal["rule"], one, one.since, now, until)

    def _end(self, one: Enrolment, reason: str, now: datetime, withdrawn: str) -> None:
        one.path.append((one.step, reason, now))
        one.reason, one.ended_at = reason, now
        for message in one.messages:
            if message.state == "pending":
                message.state, message.reason = "cancelled", withdrawn

    def _has_come(
        self, rule: dict, one: Enrolment, since: datetime, now: datetime, until: datetime | None = None
    ) -> bool:
        """An event without a time of its own counts since she came; what let her in is no answer."""
        for word, of in (("all", all), ("any", any)):
            if word in rule:
                return of(self._has_come(part, one, since, now, until) for part in rule[word])
        if "not" in rule:
            return not self._has_come(rule["not"], one, since, now, until)
        if "did" not in rule or {"within", "before", "after"} & rule.keys():
            return self._is_meant(rule, now)
        events = [
            event for event in self.person["touchpoints"]
            if event["number"] != one.number and since <= event["occurred_at"] <= (until or now)
        ]  # fmt: skip
        return twin.holds(rule, self.person | {"touchpoints": events}, now, self.fields)

    def _is_meant(self, rule: dict, now: datetime) -> bool:
        return twin.holds(rule, self.person, now, self.fields)

    # The steps -------------------------------------------------------------------------------------------------------

    def _wakes_at(self, one: Enrolment) -> datetime:
        """When she goes on at the latest; a wait for a date follows the date."""
        step = self.steps.get(one.step, {})
        if "wait_until" in step:
            value = self.person["attributes"].get(step["wait_until"].get("field"))
            return until(one.came_at, step["wait_until"], self.zone, value)
        length = step.get("wait") or step.get("timeout")
        return later(one.came_at, length, self.zone) if length else one.came_at

    def _message(self, one: Enrolment) -> Message | None:
        """What she was sent on this visit of her step."""
        return next((m for m in one.messages if (m.step, m.round) == (one.step, one.round)), None)

    def _way_on(self, one: Enrolment, now: datetime) -> str | None:
        """By which exit she leaves her step now; None while she rests there."""
        step = self.steps.get(one.step, {"entry": True})
        if "send" in step:
            return self._sends(one, step, now)
        if "wait" in step or "wait_until" in step:
            return "next" if self._wakes_at(one) <= now else None
        if "wait_for" in step:
            since = one.came_at if step.get("since") == "step" else one.since
            if self._has_come(step["wait_for"], one, since, now):
                return "then"
            return "else" if self._wakes_at(one) <= now else None
        if "ask" in step:
            branches = step["ask"] if isinstance(step["ask"], list) else [{"label": "then", "when": step["ask"]}]
            return next((branch["label"] for branch in branches if self._is_meant(branch["when"], now)), "else")
        if "split" in step:
            return self._drawn(one.step, step["split"])
        if "jump_to" in step:
            jumps = [way for key, way, _at in one.path if (key, way) == (one.step, "jump")]
            return "jump" if len(jumps) < step.get("max", 1) else "next"
        if "exit" in step:
            return "exit"
        if "goal" in step:
            one.goal_at = one.goal_at or now
        elif not one.is_ghost:
            self._does_something(step, now)
        return "next"

    def _sends(self, one: Enrolment, step: dict, now: datetime) -> str | None:
        """She rests until her message left, or will not: then the step's `on_skip` decides."""
        message = self._message(one)
        if message is None:
            one.messages.append(Message(step["send"], one.step, one.round, now, now))
            return None
        on_skip = step.get("on_skip", "advance")
        if message.state not in OVER:
            return None
        if message.state in LEFT or one.is_ghost or on_skip == "advance":
            return "next"
        if on_skip == "exit":
            return "not_sent"
        if message.reason in PASSING and now < one.came_at + timedelta(days=7):
            message.state, message.reason, message.due_at = "pending", "", now + timedelta(days=1)
            return None
        return "next"

    def _does_something(self, step: dict, now: datetime) -> None:
        """Whoever is held out walks the same way, and nothing comes of it."""
        if "set" in step:
            self.changes(step["set"]["field"], step["set"]["value"], now)
        for verb, kind in (("handoff", "handoff.requested"), ("start", "journey.requested")):
            if verb in step:
                self.told.append((kind, now))

    def _drawn(self, key: str, weights: dict[str, int]) -> str:
        """The same path on every visit, by a salted hash."""
        bucket, sum_so_far = bucket_of(f"{self.journey['key']}:{key}", self.person["id"]), 0
        for label, weight in weights.items():
            sum_so_far += weight
            if bucket * sum(weights.values()) < 100 * sum_so_far:
                return label
        raise AssertionError(bucket)

    def _go(self, one: Enrolment, way: str, now: datetime) -> None:
        """Leaves a step by an exit, and comes to the next one, or to the end."""
        one.path.append((one.step, way, now))
        step = self.steps.get(one.step)
        if way in ("exit", "not_sent"):
            one.step = None
        elif way == "jump":
            one.step, one.round = step["jump_to"], one.round + 1
        elif step is None:
            one.step = self.first
        else:
            one.step = step["ways"][way] if step["ways"] else self.following[one.step]
        one.came_at = now
        if one.step is None:
            one.reason, one.ended_at = way if way in ("exit", "not_sent") else "end", now


# Dice ----------------------------------------------------------------------------------------------------------------


def labels(step: dict) -> list[str]:
    if "split" in step:
        return list(step["split"])
    if isinstance(step.get("ask"), list):
        return [*(branch["label"] for branch in step["ask"]), "else"]
    return ["then", "else"] if "ask" in step or "wait_for" in step else []


def bucket_of(salt: str, number: int) -> int:
    return int(hashlib.md5(f"{salt}:{number}".encode()).hexdigest()[:8], 16) % 100
