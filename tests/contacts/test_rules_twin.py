"""Random rules over a world of nasty people: whoever is asked, and however, there must be one answer.

SQL, the twin in Python, the preview, the REST API, the explanation, and who is a member after the step that refreshes.
`HYPOTHESIS_PROFILE=deep` asks thousands of rules.
"""

import os

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contacts import segments, stream, tokens
from contacts.models import Contact, Segment
from contacts.rules import dump, explain, leaf_kinds, matching, parse, verdict
from tests.contacts import twin
from tests.contacts.world import COLUMNS, FIELDS, KINDS, SIZES, STAGES, TEXTS, make_world

pytestmark = pytest.mark.django_db

# Rules ---------------------------------------------------------------------------------------------------------------

texts = st.sampled_from([text for text in TEXTS if text])
numbers = st.sampled_from([-3, 0, 1, 12, 12.5, 0.1, 50])
moments = st.sampled_from(
    ["now", "-14d", "+30d", "-3h", "2026-11-10", "2026-11-01", "2026-10-25", "2026-11-10T09:00:00+00:00", "2024-02-29"]
)
spans = st.sampled_from(["14d", "3h", "30m", "90d"])
SET = ["is_set", "is_empty"]


def values(type_: str, op: str):
    if op in SET:
        return None
    if op == "within_last":
        return spans
    one = {
        "text": texts, "number": numbers, "boolean": st.booleans(), "datetime": moments, "list": texts | numbers,
        "date": moments.filter(lambda text: "T" not in text),
    }[type_]  # fmt: skip
    return st.lists(one, min_size=1, max_size=3) if op in ("in", "not_in") else one


OPERATORS = {
    "text": ["eq", "ne", "in", "not_in", "contains", "starts_with", *SET],
    "number": ["eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte", *SET],
    "boolean": ["eq", "ne", *SET],
    "date": ["eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte", "before", "after", "within_last", *SET],
    "datetime": ["gt", "gte", "lt", "lte", "before", "after", "within_last", *SET],
    "list": ["contains", "in", "not_in", *SET],
}
OF_COMPANY = ["company.name", "company.domain", "company.country", "company.industry"]
ASKED = dict.fromkeys([*(key for key in COLUMNS if key != "email"), "owner", *OF_COMPANY], "text") | twin.COLUMNS
LASTING = {key: "text" for key in [*ASKED, "plan"] if ASKED.get(key, "text") == "text"}
LASTING |= {"seats": "number", "active": "boolean", "born": "date", "company.employees": "number"}


@st.composite
def conditions(draw, field: str, type_: str):
    op = draw(st.sampled_from(OPERATORS[type_]))
    value = values(type_, op)
    return {"field": field, "op": op} | ({"value": draw(value)} if value is not None else {})


@st.composite
def choices(draw):
    op = draw(st.sampled_from(OPERATORS["text"]))
    one = st.sampled_from(SIZES)
    value = {"in": st.lists(one, min_size=1), "not_in": st.lists(one, min_size=1), **dict.fromkeys(SET)}.get(op, one)
    return {"field": "size", "op": op} | ({"value": draw(value)} if value is not None else {})


def lastings(one: tuple[str, str]):
    return st.fixed_dictionaries(
        {"field": st.just(one[0]), "op": st.just("has_been_for"), "value": values(one[1], "eq"), "for": spans}
    )


asked = sorted((ASKED | {key: type_ for key, type_ in FIELDS.items() if type_ != "choice"}).items())
fields = st.one_of(
    st.sampled_from(asked).flatmap(lambda one: conditions(*one)),
    choices(),
    st.sampled_from(sorted(LASTING.items())).flatmap(lastings),
    st.sampled_from(["identity.user_id", "identity.erp", "identity.phone"]).flatmap(
        lambda key: conditions(key, "list")
    ),
    st.tuples(
        st.sampled_from(["company.attributes.tier", "company.attributes.deep.er"]),
        st.sampled_from(["text", "number", "boolean", "datetime"]),
    ).flatmap(lambda one: conditions(*one)),
)
wheres = st.tuples(
    st.sampled_from(["url", "total", "at", "deep.er", "none"]),
    st.sampled_from(["text", "number", "boolean", "datetime"]),
).flatmap(lambda one: conditions(*one))
# Against a word, “greater” of a property means time; the type of a filter is told by its value alone.
dids = st.fixed_dictionaries(
    {"did": st.sampled_from(KINDS)},
    optional={
        "where": st.lists(wheres, max_size=2),
        "count": st.fixed_dictionaries(
            {"op": st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"]), "value": st.integers(0, 4)}
        ),
        "within": spans,
        "before": moments,
        "after": moments,
        "include_machines": st.booleans(),
    },
)
stages = st.one_of(
    st.fixed_dictionaries({"stage": st.sampled_from(STAGES)}, optional={"for": spans}),
    st.fixed_dictionaries({"stage": st.sampled_from(twin.LADDER), "op": st.just("reached")}),
    st.fixed_dictionaries(
        {"field": st.just("stage"), "op": st.just("has_been_for"), "value": st.sampled_from(STAGES), "for": spans}
    ),
)
memberships = st.fixed_dictionaries({"in_segment": st.sampled_from(["friends", "foes"])}, optional={"for": spans})
buckets = st.fixed_dictionaries({"bucket": st.sampled_from(["0-49", "50-99", "7-7", "0-99"]), "salt": texts})


def points(op: str):
    one = st.sampled_from([-3, 0, 0.25, 0.5, 1, 2.5, 5, 10])
    return st.lists(one, min_size=1, max_size=3) if op in ("in", "not_in") else one


consents = st.fixed_dictionaries(
    {"consent": st.sampled_from(["news", "tips"])},
    optional={
        "channel": st.sampled_from(["email", "sms"]),
        "state": st.sampled_from(["granted", "denied", "pending", "none"]),
    },
)
scores = st.tuples(
    st.sampled_from(["engagement", "fit"]), st.sampled_from([op for op in OPERATORS["number"] if op not in SET])
).flatmap(lambda one: st.fixed_dictionaries({"score": st.just(one[0]), "op": st.just(one[1]), "value": points(one[1])}))
GRADES = [letter + number for letter in "ABC" for number in "123"]
grades = st.sampled_from(["in", "not_in", "eq", "ne"]).flatmap(
    lambda op: st.fixed_dictionaries(
        {
            "grade": st.just("product"),
            "op": st.just(op),
            "value": st.lists(st.sampled_from(GRADES), min_size=1, max_size=4)
            if op in ("in", "not_in")
            else st.sampled_from(GRADES),
        }
    )
)
leaves = st.one_of(fields, fields, fields, dids, dids, stages, memberships, buckets, consents, scores, grades)


def trees(depth: int):
    if depth == 1:
        return leaves
    parts = st.lists(trees(depth - 1), min_size=1, max_size=3)
    return st.one_of(
        leaves,
        parts.map(lambda rules: {"all": rules}),
        parts.map(lambda rules: {"any": rules}),
        trees(depth - 1).map(lambda rule: {"not": rule}),
    )


DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
quick = settings(
    deadline=None, derandomize=not DEEP, suppress_health_check=list(HealthCheck), print_blob=True, database=None
)  # fmt: skip

# Tests ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_every_leaf_means_what_its_twin_means(now, seed):
    people = make_world(seed, now, 100)
    everybody = {person["id"] for person in people}
    seen = set()

    @settings(quick, max_examples=2000 if DEEP else 100)
    @given(leaves)
    def check(rule):
        seen.add(next(kind for kind in leaf_kinds() if kind in rule))
        wanted = {person["id"] for person in people if twin.holds(rule, person, now, FIELDS)}
        assert set(matching(rule, now).values_list("pk", flat=True)) == wanted
        assert set(matching({"not": rule}, now).values_list("pk", flat=True)) == everybody - wanted

    check()
    assert seen == set(leaf_kinds()), "a kind of leaf was never asked"


def test_sql_twin_preview_api_explanation_and_members_are_one_answer(client, now):
    people = make_world(3, now, 500)
    by_id = {person["id"]: person for person in people}
    segment = Segment.objects.create(key="asked", name="Asked", sweep_at=None)
    boss = User.objects.create_superuser("boss")
    _token, secret = tokens.issue(user=boss, scopes=["read"], now=now)
    headers = {"Authorization": f"Bearer {secret}"}
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")

    @settings(quick, max_examples=500 if DEEP else 30)
    @given(trees(4), st.integers(0, len(people) - 1))
    def check(rule, at):
        wanted = {pk for pk, person in by_id.items() if twin.holds(rule, person, now, FIELDS)}
        parsed = parse(rule)
        assert parse(dump(parsed)) == parsed
        assert set(matching(parsed, now).values_list("pk", flat=True)) == wanted
        assert segments.preview(rule, now).count() == len(wanted)
        with time_machine.travel(now, tick=False):
            told = client.post(
                "/api/v1/segments/asked/preview/", {"rule": rule}, content_type="application/json", headers=headers
            )
        assert told.json() == {"count": len(wanted), "sample": sorted(wanted)[:10]}
        # One of those meant, one of the others, and anybody.
        for pk in {min(wanted, default=people[at]["id"]), min(by_id.keys() - wanted, default=people[at]["id"]),
                   people[at]["id"]}:  # fmt: skip
            contact = Contact.objects.get(pk=pk)
            answers = explain(rule, contact, now)
            assert verdict(parsed, answers) == (pk in wanted)
            assert all(answer.says and answer.because for answer in answers)
        with transaction.atomic():
            segments.change_rule(segment, rule)
            segments.refresh(now, stream.head(), stream.head())
            assert set(segments.members(segment).values_list("pk", flat=True)) == wanted
            listed = client.get("/api/v1/segments/asked/members/?limit=500", headers=headers).json()
            assert {one["id"] for one in listed["results"]} == wanted
            transaction.set_rollback(True)
        segment.refresh_from_db()

    check()
