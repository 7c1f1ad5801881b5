"""A world of nasty people, in the database and as the plain dicts that `twin.py` reads.

NULL, empty texts, spaces, letters that look alike, huge numbers, values of the wrong type, people erased and merged.
"""

import random
from datetime import datetime, timedelta

from django.contrib.auth.models import User

from contacts.models import (
    Company,
    Consent,
    Contact,
    Field,
    Identity,
    Membership,
    MembershipOverride,
    Segment,
    Touchpoint,
)
from growth.models import Order
from messaging.models import Suppression, Topic
from scoring.models import GradeMatrix, ScoreEntry, ScoreModel, ScoreRule
from tests.contacts import twin
from tests.contacts.twin import BOUNDS

FIELDS = {
    "plan": "text", "seats": "number", "active": "boolean", "born": "date", "renewal": "datetime", "tags": "list",
    "size": "choice",
}  # fmt: skip
SIZES = ["S", "L", "12", "Ř"]
TEXTS = [
    "", " ", "CZ", "cz", " CZ", "CZ ", "CZ", "СZ", "İstanbul", "istanbul", "ı", "straße", "STRASSE", "ß", "ẞ", "Ř",
    "ř", "é", "é", "🦊", "🦊 fox", "%", "_", "\\", "'", '"', "null", "12", "12.0", "012", "-3", "1e3", "NaN", "true",
    "False", "Σας", "S", "L", "x" * 3000, "٣", "１２", "\u200b", "a\nb",
]  # fmt: skip
STAMPS = [
    "2026-11-01", "2026-11-10", "2026-11-09", "2026-02-30", "2024-02-29", "2023-02-29", "2000-02-29", "1900-02-29",
    "2026-11-10T09:00:00Z", "2026-11-10T10:00", "2026-11-10T10:00:00.000001", "2026-11-10 23:59:59.5+02:00",
    "2026-10-27T09:00:00Z", "2026-03-29T02:30", "2026-10-25T02:30", "2026-11-10T25:00", "2026-13-01", "0000-01-01",
    "0001-01-01", "9999-12-31", "2026-12-10T09:00:00-0500", "2026-11-10x", "２０２６-11-10", "today", "",
]  # fmt: skip
NUMBERS = [0, 1, -3, 12, 12.0, 12.5, 0.1, 1e22, 1e-7, 10**18, 50, 10**40, -(10**30)]
KINDS = ["page.viewed", "order.placed", "email.clicked"]
STAGES = [*twin.LADDER, "disqualified", "churned"]
ANYTHING = [*TEXTS, *STAMPS, *NUMBERS, True, False, None, [], {}, ["CZ", 12], ["12", True, 1, None], {"CZ": 1}, [[]]]
COLUMNS = [
    "email", "phone", "first_name", "last_name", "language", "country", "timezone", "job_title", "company_role",
    "source",
]  # fmt: skip
# The names by which updates tell of fields; the last is nobody's.
TOLD = ["plan", "seats", "size", "country", "company", "owner", "first_name", "stage", "nothing"]
HALF_LIFE = timedelta(days=14)


def make_world(seed: int, now: datetime, size: int) -> list[dict]:
    """People in the database, and the same people as plain dicts."""
    chance = random.Random(seed)
    pick = chance.choice
    owners = [User.objects.create(username=name) for name in ("ann", "CZ")]
    spans = [timedelta(0), HALF_LIFE, HALF_LIFE + timedelta(microseconds=1), timedelta(hours=3), timedelta(days=90)]

    def moment() -> datetime:
        return now - pick(spans) if chance.random() < 0.8 else now + timedelta(days=chance.randrange(1, 40))

    companies = [
        Company.objects.create(
            name=pick(TEXTS), country=pick(TEXTS), industry=pick(TEXTS), employees=employees, domain=domain,
            updated_at=moment(), attributes={"tier": pick(ANYTHING), "deep": {"er": pick(ANYTHING)}},
        )
        for employees, domain in [(None, None), (0, "a.example"), (12, "CZ"), (50, None), (2**31 - 1, "")]
    ]  # fmt: skip
    for key, type_ in FIELDS.items():
        Field.objects.create(key=key, type=type_, choices=SIZES if type_ == "choice" else [])
    groups = [Segment.objects.create(key=key, name=key, sweep_at=None) for key in ("friends", "foes")]
    Topic.objects.create(key="news", name="News", is_opt_in=False)
    Topic.objects.create(key="tips", name="Tips", is_opt_in=True)
    Suppression.objects.create(address="cz", reason="manual")
    fading, lasting = (ScoreModel.objects.create(key=key, kind=key) for key in ("engagement", "fit"))
    a_matrix()
    rules = [
        ScoreRule.objects.create(model=fading, key="fades", when={"did": "page.viewed"}, points=1, half_life=HALF_LIFE),
        ScoreRule.objects.create(model=lasting, key="lasts", when={"stage": "lead"}, points=1),
    ]

    taken = set()

    def handles(kind: str, number: int) -> list[str]:
        """The first to draw a text has it; who comes later has one that nobody asks for."""
        drawn = [text if (kind, text) not in taken else f"{text}{number}" for text in {pick(TEXTS) or "0": 0, "ann": 0}]
        taken.update((kind, text) for text in drawn)
        return drawn

    people: list[dict] = []
    for number in range(size):
        person = {key: pick(TEXTS) for key in COLUMNS}
        person |= {
            "id": number, "stage": pick(STAGES), "highest_stage": pick(STAGES), "created_at": moment(),
            "stage_changed_at": pick([None, moment()]), "identified_at": pick([None, moment()]),
            "last_seen_at": pick([None, moment()]),
            "attributes": {key: pick(ANYTHING) for key in FIELDS if chance.random() < 0.85},
            "company": pick([None, *companies]), "owner": pick([None, *owners]),
            "touchpoints": [
                {
                    "kind": pick(KINDS), "occurred_at": moment(), "is_machine": chance.random() < 0.2,
                    "properties": {key: pick(ANYTHING) for key in ("url", "total", "at")}
                    | {"deep": {"er": pick(ANYTHING)}},
                }
                for _ in range(chance.randrange(6))
            ] + [
                {
                    "kind": "contact.updated", "occurred_at": moment(), "is_machine": False,
                    "properties": {"fields": pick([[pick(TOLD), pick(TOLD)], [pick(TOLD)], pick(TOLD), None, []])},
                }
                for _ in range(chance.randrange(3))
            ],
            "segments": {group.key: moment() for group in groups if chance.random() < 0.4},
            "consents": {
                (topic, channel): pick(["granted", "denied", "pending"])
                for topic in ("", "news", "tips") for channel in ("email", "sms") if chance.random() < 0.4
            },
            "points": [
                {"rule": at, "points": pick([1, 5, 10, -3]), "at": moment()}
                for at in (0, 1) if chance.random() < 0.6
            ],
            "orders": [
                {"state": pick(["placed", "paid", "cancelled", "refunded"]), "placed_at": moment(),
                 "total": pick(["0", "12", "12.5", "0.1", "999999999999.99"])}
                for _ in range(pick([0, 0, 1, 2, 3]))
            ],
            "identities": {kind: handles(kind, number) for kind in ("user_id", "erp") if chance.random() < 0.5},
        }  # fmt: skip
        people.append(person)
    _store(people, now, rules, groups)
    for person in people:
        company = person["company"]
        person["company"] = company and {
            key: getattr(company, key)
            for key in ("name", "domain", "country", "employees", "industry", "attributes", "updated_at")
        }
        person["owner"] = person["owner"] and person["owner"].username
        for point in person["points"]:
            point["score"], point["half_life"] = (("engagement", HALF_LIFE), ("fit", None))[point["rule"]]
    # Nobody of these is ever meant, whatever their columns say.
    for number in range(10):
        same = {key: people[number][key] for key in (*COLUMNS, "stage", "attributes")}
        gone = {"erased_at": now} if number % 2 else {"merged_into_id": people[0]["id"]}
        tombstone = Contact.objects.create(**same, **gone)
        Touchpoint.objects.create(contact=tombstone, kind="page.viewed", occurred_at=now, received_at=now)
    return people


def _store(people: list[dict], now: datetime, rules: list[ScoreRule], groups: list[Segment]) -> None:
    columns = [*COLUMNS, "stage", "highest_stage", "created_at", "stage_changed_at", "identified_at", "last_seen_at",
               "attributes", "company", "owner"]  # fmt: skip
    contacts = Contact.objects.bulk_create(Contact(**{key: person[key] for key in columns}) for person in people)
    by_key = {group.key: group for group in groups}
    touchpoints, members, overrides, consents, entries, orders, identities = [], [], [], [], [], [], []
    for contact, person in zip(contacts, people, strict=True):
        person["id"] = contact.pk
        touchpoints += [Touchpoint(contact=contact, received_at=now, **one) for one in person["touchpoints"]]
        for key, entered in person["segments"].items():
            members.append(Membership(segment=by_key[key], contact=contact, entered_at=entered))
            overrides.append(MembershipOverride(segment=by_key[key], contact=contact, is_member=True))
        consents += [
            Consent(contact=contact, topic=topic, channel=channel, state=state, changed_at=now)
            for (topic, channel), state in person["consents"].items()
        ]
        entries += [score_entry(contact, rules[one["rule"]], one["points"], one["at"]) for one in person["points"]]
        orders += [
            Order(contact=contact, number=f"{contact.pk}-{number}", **one)
            for number, one in enumerate(person["orders"])
        ]
        identities += [
            Identity(contact=contact, kind=kind, value=value)
            for kind, values in person["identities"].items() for value in values
        ]  # fmt: skip
    for model, rows in (
        (Touchpoint, touchpoints), (Membership, members), (MembershipOverride, overrides), (Consent, consents),
        (ScoreEntry, entries), (Order, orders), (Identity, identities),
    ):  # fmt: skip
        model.objects.bulk_create(rows)


def a_matrix() -> GradeMatrix:
    """Grades of the scores `fit` and `engagement`, with the bounds of `twin.BOUNDS`."""
    scores = {kind: ScoreModel.objects.get(key=kind) for kind in ("fit", "engagement")}
    bounds = {f"{kind}_from": list(BOUNDS) for kind in scores}
    return GradeMatrix.objects.create(key="product", name="Product", **scores, **bounds)


def score_entry(contact: Contact, rule: ScoreRule, points: int, at: datetime) -> ScoreEntry:
    """A row of the ledger as booking writes it: its weight is what the event is worth at the beginning of its day."""
    start = at.replace(hour=0, minute=0, second=0, microsecond=0)
    weight = points * 2 ** ((at - start) / rule.half_life) if rule.half_life else points
    return ScoreEntry(
        contact=contact, rule=rule, day=start.date(), points=points, weight=weight, half_life=rule.half_life,
        touchpoint_ids=[1], occurred_ats=[at], event_points=[points],
    )  # fmt: skip
