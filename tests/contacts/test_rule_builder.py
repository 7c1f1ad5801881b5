"""The builder of rules without a browser: operations, what the controls mean, what is drawn, and who may ask."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.staticfiles import finders
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from hypothesis import given, settings
from hypothesis import strategies as st

from contacts import ruletree, written
from contacts.did import Did
from contacts.models import Contact, Field, Membership, MembershipOverride, Segment, Touchpoint
from contacts.rule_widget import read_rule
from contacts.ruleeditor import Editor
from contacts.rulefields import Vocabulary, registered
from contacts.rulerows import draw, in_words
from contacts.rules import Not, RuleError, leaf_kinds, leaves_of, parse
from contacts.segment_admin import RECIPES
from messaging.leaf import STATES
from messaging.models import Topic
from messaging.refusing import CHANNELS
from tests.contacts.test_rules_twin import leaves, quick, trees
from tests.contacts.world import make_world

pytestmark = pytest.mark.django_db

CZECH = {"field": "country", "op": "in", "value": ["CZ"]}
VIEWED = {"did": "page.viewed", "within": "14d"}
LEAD = {"stage": "lead"}
RULE = {"all": [CZECH, {"any": [VIEWED, {"not": LEAD}]}]}


@pytest.fixture
def boss() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def url(name: str) -> str:
    return reverse(f"admin:contacts_segment_{name}")


def ask(client: Client, rule, status: int = 200, **values):
    values = {name: one if isinstance(one, str) else json.dumps(one) for name, one in values.items()}
    answer = client.post(url("draw"), {"rule": json.dumps(rule), "name": "id_rule", **values})
    assert answer.status_code == status, answer.content
    return answer.json()


def after(rule, *ops):
    for op in ops:
        rule = ruletree.change(rule, op).rule
    return rule


# Operations ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "rule", "focus"),
    [
        ({"op": "delete", "at": [0]}, {"all": [{"any": [VIEWED, {"not": LEAD}]}]}, [0]),
        ({"op": "delete", "at": [1, 0]}, {"all": [CZECH, {"any": [{"not": LEAD}]}]}, [1, 0]),
        ({"op": "duplicate", "at": [0]}, {"all": [CZECH, CZECH, RULE["all"][1]]}, [1]),
        ({"op": "negate", "at": [1, 1]}, {"all": [CZECH, {"any": [VIEWED, LEAD]}]}, [1, 1]),
        ({"op": "negate", "at": [0]}, {"all": [{"not": CZECH}, RULE["all"][1]]}, [0]),
        ({"op": "join", "at": []}, {"any": RULE["all"]}, []),
        ({"op": "mode", "at": [1], "mode": "none"}, {"all": [CZECH, {"not": RULE["all"][1]}]}, [1]),
        ({"op": "in", "at": [0]}, {"all": [{"any": [CZECH, VIEWED, {"not": LEAD}]}]}, [0, 0]),
        ({"op": "out", "at": [1, 0]}, {"all": [CZECH, {"any": [{"not": LEAD}]}, VIEWED]}, [2]),
        ({"op": "up", "at": [1, 0]}, {"all": [CZECH, VIEWED, {"any": [{"not": LEAD}]}]}, [1]),
        ({"op": "up", "at": [1]}, {"all": [RULE["all"][1], CZECH]}, [0]),
        ({"op": "down", "at": [0]}, {"all": [RULE["all"][1], CZECH]}, [1]),
        ({"op": "move", "at": [0], "to": [1], "index": 1}, {"all": [{"any": [VIEWED, CZECH, {"not": LEAD}]}]}, [0, 1]),
        ({"op": "add", "at": [1], "leaf": LEAD}, {"all": [CZECH, {"any": [VIEWED, {"not": LEAD}, LEAD]}]}, [1, 2]),
        ({"op": "add", "at": [], "is_group": True}, {"all": [*RULE["all"], {"any": [{}]}]}, [2, 0]),
        ({"op": "set", "at": [1, 1], "leaf": VIEWED}, {"all": [CZECH, {"any": [VIEWED, {"not": VIEWED}]}]}, [1, 1]),
    ],
    ids=lambda one: one["op"] if isinstance(one, dict) and "op" in one else "",
)  # fmt: skip
def test_an_operation_changes_the_rule_and_says_where_to_go(op, rule, focus):
    changed = ruletree.change(RULE, op)
    assert (changed.rule, changed.focus) == (rule, focus)


def test_a_group_that_holds_nothing_any_more_goes_and_so_does_the_last_condition():
    assert after(RULE, {"op": "delete", "at": [1, 1]}, {"op": "delete", "at": [1, 0]}) == CZECH
    assert after(CZECH, {"op": "delete", "at": [0]}) is None
    assert after(None, {"op": "add", "at": [], "leaf": CZECH}) == CZECH


@pytest.mark.parametrize(
    ("op", "path"),
    [
        (None, "op"), ([], "op"), ({"op": "drop table", "at": []}, "op"), ({"op": ["up"], "at": []}, "op"),
        ({"op": "delete"}, "at"), ({"op": "delete", "at": [7]}, "at"), ({"op": "delete", "at": []}, "at"),
        ({"op": "delete", "at": ["0"]}, "at"), ({"op": "delete", "at": [True]}, "at"), ({"op": "up", "at": [0]}, "at"),
        ({"op": "out", "at": [0]}, "at"), ({"op": "delete", "at": [0, 0]}, "at"), ({"op": "delete", "at": [-1]}, "at"),
        ({"op": "mode", "at": [], "mode": "most"}, "mode"), ({"op": "mode", "at": [0], "mode": "any"}, "at"),
        ({"op": "move", "at": [1], "to": [1]}, "to"), ({"op": "move", "at": [1], "to": [0]}, "to"),
        ({"op": "move", "at": [0], "to": [1], "index": 9}, "index"), ({"op": "set", "at": [0], "leaf": 5}, "leaf"),
        ({"op": "set", "at": [1], "leaf": CZECH}, "leaf"), ({"op": "add", "at": [], "leaf": []}, "leaf"),
    ],
)  # fmt: skip
def test_an_operation_that_cannot_be_is_refused_with_its_path(op, path):
    with pytest.raises(RuleError) as refused:
        ruletree.change(RULE, op)
    assert refused.value.path == path and refused.value.message


def test_groups_stand_three_deep_and_deeper_ones_are_kept_and_moved_but_not_opened():
    three = after(None, *[{"op": "add", "at": at, "is_group": True} for at in ([], [0])])
    with pytest.raises(RuleError):
        ruletree.change(three, {"op": "add", "at": [0, 1], "is_group": True})
    deep = {"all": [{"any": [{"all": [{"any": [CZECH, {"not": LEAD}]}]}]}, VIEWED]}
    drawn = draw(deep, "id_rule", None).root.parts[0].parts[0].parts[0]
    assert drawn.is_locked and "country" in drawn.text
    with pytest.raises(RuleError):
        ruletree.change(deep, {"op": "delete", "at": [0, 0, 0, 0]})
    assert after(deep, {"op": "up", "at": [1]}) == {"all": [VIEWED, deep["all"][0]]}
    assert after(deep, {"op": "move", "at": [0, 0, 0], "to": []}) == {"all": [VIEWED, {"any": [CZECH, {"not": LEAD}]}]}


CLICKS = ["up", "down", "in", "out", "join", "negate", "duplicate", "move", "mode"]


@settings(quick, max_examples=50)
@given(trees(4), st.data())
def test_whatever_is_clicked_the_rule_stays_one_and_the_other_conditions_stay_as_they_are(rule, data):
    root = ruletree.rooted(rule)
    for _click in range(6):
        parts = [at for at, _part in ruletree.walk(root)]
        op = {
            "op": data.draw(st.sampled_from(CLICKS)),
            "at": data.draw(st.sampled_from(parts)), "to": data.draw(st.sampled_from(parts)), "mode": "none",
        }  # fmt: skip
        before = sorted(written.write(part) for _at, part in ruletree.walk(root) if ruletree.parts_of(part) is None)
        try:
            changed = ruletree.change(root, op)
        except RuleError:
            continue
        root = ruletree.rooted(changed.rule)
        assert ruletree.at(root, changed.focus) is not None
        now = sorted(written.write(part) for _at, part in ruletree.walk(root) if ruletree.parts_of(part) is None)
        assert now == before or op["op"] in ("negate", "duplicate")


@settings(quick, max_examples=60)
@given(trees(4))
def test_the_text_keeps_every_rule_as_it_is(rule):
    assert read_rule(written.write(rule)) == rule == read_rule(json.dumps(rule, ensure_ascii=False))


# The controls of a condition -----------------------------------------------------------------------------------------


def form_of(lines: list[dict]) -> dict[str, list[str]]:
    """What a browser would send of these controls."""
    form: dict[str, list[str]] = {}
    for control in [one for line in lines for one in line["controls"]]:
        if control["kind"] == "chips":
            form[control["name"]] = [value for value, _label in control["items"]]
            form[control["add"]["name"]] = [control["add"]["value"]]
        elif control["kind"] != "tick":
            form[control["name"]] = [control["value"]]
        elif control["value"]:
            form[control["name"]] = ["on"]
    return form


def settled(rule):
    """A rule in which a negated count is the count of the others."""
    if isinstance(rule, Not) and isinstance(rule.rule, Did):
        other = {"gte": "lt", "lt": "gte", "gt": "lte", "lte": "gt", "eq": "ne", "ne": "eq"}[rule.rule.count_op]
        rule = replace(rule.rule, count_op=other)
    if isinstance(rule, Did) and (rule.count_op, rule.count) == ("lte", 0):
        rule = replace(rule, count_op="lt", count=1)
    return rule


def test_opening_any_condition_and_touching_nothing_changes_nothing(now):
    make_world(5, now, 20)

    @settings(quick, max_examples=150)
    @given(leaves, st.booleans())
    def check(leaf, is_negated):
        editor = Editor(Vocabulary())
        new, still = editor.read(form_of(editor.lines(leaf, is_negated)), leaf, is_negated)
        was = {"not": leaf} if is_negated else leaf
        assert settled(parse({"not": new} if still else new)) == settled(parse(was))

    check()


def test_everything_that_can_be_asked_can_be_begun_and_is_unfinished_or_right(now):
    make_world(5, now, 20)
    editor = Editor(Vocabulary())
    for what in [
        *(f"field:{key}" for key in editor.fields),
        "did:page.viewed",
        "did:",
        *map("leaf:{}".format, editor.leaves),
    ]:
        leaf = editor.new(what, {})
        drawn = draw({"all": [leaf]}, "id_rule", now, opened=[0]).root.parts[0]
        assert drawn.state in ("", "is-warn") and drawn.lines, (what, leaf, drawn.problem)
    assert set(editor.leaves) | {"field", "did"} == set(leaf_kinds()) and set(registered()) <= set(editor.fields)


def test_a_value_goes_with_its_operator_as_far_as_it_can(boss):
    def changed(leaf, **said):
        editor = Editor(Vocabulary())
        form = form_of(editor.lines(leaf, False)) | {key: [one] for key, one in said.items()}
        return editor.read(form, leaf, False)[0]

    assert changed({"field": "country", "op": "eq", "value": "CZ"}, op="in") == CZECH
    assert changed(CZECH, op="eq") == {"field": "country", "op": "eq", "value": "CZ"}
    assert changed(CZECH, op="is_set") == {"field": "country", "op": "is_set"}
    assert changed(CZECH, **{"value.add": "PL"})["value"] == ["CZ", "PL"]
    lasting = changed({"field": "country", "op": "eq", "value": "CZ"}, op="has_been_for")
    assert lasting == {"field": "country", "op": "has_been_for", "value": "CZ", "for": "30d"}
    seen = {"field": "last_seen_at", "op": "within_last", "value": "14d"}
    assert changed(seen, **{"value.number": "3", "value.unit": "h"})["value"] == "3h"
    assert parse(changed(seen, op="after"))
    assert changed(VIEWED, how="never") == VIEWED
    counted = changed(VIEWED, how="gte", time="")
    assert counted == {"did": "page.viewed", "count": {"op": "gte", "value": 2}}
    assert changed(counted, times="3") == {"did": "page.viewed", "count": {"op": "gte", "value": 3}}
    filtered = changed(VIEWED, more="where")
    assert filtered["where"] == [{"field": "", "op": "eq", "value": ""}]
    number = changed(filtered, **{"w0.field": "total", "w0.type": "number"})
    more = changed(number, **{"w0.op": "gte", "w0": "12.5"})
    assert more["where"] == [{"field": "total", "op": "gte", "value": 12.5}]
    assert "where" not in changed(filtered, drop="w0")


# Drawing -------------------------------------------------------------------------------------------------------------


def test_rows_read_as_sentences(boss, now):
    html = ask(boss, RULE)["html"]
    assert "<strong>Country</strong> is any of <strong>Czechia</strong>" in html
    assert "All are true" in html and ">or<" in html
    with_not = ask(boss, {"all": [{"not": VIEWED}, {"not": CZECH}]})["html"]
    assert "Never did" in with_not and "is none of" in with_not and "rule-not" not in with_not


def test_what_is_unfinished_is_amber_and_what_is_gone_is_red_and_neither_is_asked(boss):
    Field.objects.create(key="plan", name="Plan", type="text")
    asks_plan = {"field": "plan", "op": "eq", "value": "pro"}
    ready = ask(boss, {"all": [CZECH, asks_plan]})
    assert ready["is_ready"] and "is-warn" not in ready["html"] and "is-bad" not in ready["html"]
    unfinished = ask(boss, {"all": [CZECH, {}, {"field": "plan", "op": "eq", "value": ""}, {"did": ""}]})
    assert unfinished["html"].count("rule-row is-warn") == 3 and not unfinished["is_ready"]
    Field.objects.all().delete()
    gone = ask(boss, {"all": [CZECH, asks_plan]})
    assert gone["html"].count("rule-row is-bad") == 1 and "There is no field" in gone["html"] and not gone["is_ready"]


def test_what_is_not_finished_is_told_by_its_number_and_rest_keeps_the_path(boss):
    rule = {"all": [CZECH, {"any": [VIEWED, LEAD]}, {}, {"not": {"field": "country", "op": "eq", "value": ""}},
                    {"field": "gone", "op": "is_set"}]}  # fmt: skip
    page = boss.post(url("add"), {"name": "S", "key": "s", "rule": json.dumps(rule)}).content.decode()
    assert "Condition 4 is not finished." in page and "Condition 5 is not finished." in page
    assert "Condition 6 cannot be asked: There is no field" in page and "all[" not in page.split("rule-source")[0]
    seen = boss.post(url("preview"), {"rule": json.dumps(rule)}).content.decode()
    assert "Condition 4 is not finished." in seen and "At all" not in seen
    one = boss.post(
        url("preview"), {"rule": json.dumps({"field": "country", "op": "eq", "value": ""})}
    ).content.decode()
    assert "The condition is not finished." in one
    assert "asks nothing yet" in boss.post(url("preview"), {"rule": "{}"}).content.decode()
    deep = {"all": [CZECH]}
    for _depth in range(12):
        deep = {"any": [deep]}
    assert "at most 12 deep" in boss.post(url("preview"), {"rule": json.dumps(deep)}).content.decode()
    with pytest.raises(RuleError) as error:
        parse(rule)
    assert error.value.path == "all[2]"
    assert not Segment.objects.exists()


def test_an_event_that_nobody_ever_saw_is_doubted_and_asked_all_the_same(boss, now):
    def told(kind):
        rule = {"all": [CZECH, {"not": {"did": kind, "within": "14d"}}]}
        answer = ask(boss, rule)
        assert answer["is_ready"] and "rule-row is-" not in answer["html"]
        return answer["html"], boss.post(url("preview"), {"rule": json.dumps(rule)}).content.decode()

    for html in told("page.veiwed"):
        assert "“page.veiwed” was never seen. Did you mean “page.viewed”?" in html
    for html in told("sauna.heated"):
        assert "“sauna.heated” was never seen. Is it spelt right?" in html
    for html in told("page.viewed"):
        assert "never seen" not in html
    cache.clear()
    Touchpoint.objects.create(contact=Contact.objects.create(), kind="sauna.heated", occurred_at=now, received_at=now)
    for html in told("sauna.heated"):
        assert "never seen" not in html
    rule = json.dumps({"all": [{"did": "page.veiwed"}]})
    boss.post(url("add"), {"name": "S", "key": "s", "rule": rule, "overrides-TOTAL_FORMS": 0,
                           "overrides-INITIAL_FORMS": 0})  # fmt: skip
    assert Segment.objects.get().rule == json.loads(rule)


def test_consent_is_asked_by_channel_and_state(boss):
    Topic.objects.create(key="tips", name="Tips")
    editor = Editor(Vocabulary())

    def changed(leaf, **said):
        form = form_of(editor.lines(leaf, False)) | {key: [one] for key, one in said.items()}
        return editor.read(form, leaf, False)[0]

    leaf = {"consent": "tips"}
    assert changed(leaf) == leaf
    sms = changed(leaf, channel="sms", state="denied")
    assert sms == {"consent": "tips", "channel": "sms", "state": "denied"} and changed(sms) == sms
    assert changed(sms, channel="email", state="granted") == leaf
    assert "Refused SMS about <strong>“Tips”</strong>" in ask(boss, sms)["html"]
    assert "May get e-mail about <strong>“Tips”</strong>" in ask(boss, leaf)["html"]
    said = {parse({**leaf, "channel": channel, "state": state}).says() for channel in CHANNELS for state in STATES}
    assert len(said) == len(CHANNELS) * len(STATES) == 8
    with pytest.raises(RuleError, match="“chanel” means nothing here; known here: channel, consent, state."):
        parse({"consent": "tips", "chanel": "sms"})


def test_a_condition_is_filled_in_by_its_controls(boss):
    form = {"what": ["field:country"], "op": ["in"], "value": ["CZ"], "value.add": ["PL"]}
    told = ask(boss, {"all": [CZECH]}, op={"op": "set", "at": [0], "form": form}, open=[0])
    assert read_rule(told["text"]) == CZECH | {"value": ["CZ", "PL"]}
    assert told["open"] == told["focus"] == [0] and "Czechia, Poland" in told["html"]
    moved = ask(boss, RULE, op={"op": "down", "at": [0]}, open=[0])
    assert moved["open"] == [1] and moved["message"] == "Moved down."


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"op": "{"}, "op"), ({"op": "[]"}, "op"), ({"op": "5"}, "op"), ({"op": '{"op": "set"}'}, "form"),
        ({"op": '{"op": "set", "at": [9], "form": {}}'}, "at"), ({"op": '{"op": "set", "at": "x", "form": {}}'}, "at"),
        ({"op": '{"op": "set", "at": [0], "form": {"what": "x"}}'}, "form"), ({"open": "["}, "open"),
        ({"op": '{"op": "set", "at": [0], "form": {"what": [7]}}'}, "form"), ({"name": "x y"}, "name"),
        ({"op": '{"op": "set", "at": [0], "form": {"what": ["did:page.viewed"], "kind": ["a\\u0000"]}}'}, "form"),
        ({"rule": "{"}, "rule"), ({"rule": "a: [1"}, "rule"), ({"rule": '{"not":' * 3000}, "rule"),
        ({"rule": "x" * 200_001}, "rule"), ({"rule": '{"field": "\\ud800"}'}, "rule"),
        ({"op": "[" * 100_000}, "op"),
    ],
)  # fmt: skip
def test_junk_is_answered_with_422_a_path_and_a_sentence(boss, values, path):
    rule = {"all": [{"did": "page.viewed"}]}
    answer = boss.post(url("draw"), {"rule": json.dumps(rule), "name": "id_rule"} | values)
    assert answer.status_code == 422, answer.content
    assert answer.json()["path"] == path and answer.json()["message"]


NO_RULES = [
    "[]", '"x"', "5", '{"all": 5}', '{"all": [5, null, []]}', '{"not": {"not": {}}}', '{"field": {"a": 1}, "op": []}',
    '{"did": 5, "where": 5, "count": 5}', '{"all": [{"bucket": [], "salt": {}}, {"score": 1, "op": {}}]}',
]  # fmt: skip


@pytest.mark.parametrize("rule", NO_RULES)
def test_a_rule_that_is_none_can_be_looked_at_and_opened(boss, rule):
    for opened in ([0], [0, 0], [1], [2]):
        answer = boss.post(url("draw"), {"rule": rule, "name": "id_rule", "open": json.dumps(opened)})
        assert answer.status_code == 200 and not answer.json()["is_ready"]


def test_foreign_text_does_nothing(boss):
    hostile = "<script>alert(1)</script>"
    Field.objects.create(key="plan", name=hostile, type="text")
    Segment.objects.create(key="s", name=hostile)
    rule = {"all": [{"field": "plan", "op": "in", "value": [hostile]}, {"in_segment": "s"}, {"did": f"a.{hostile}"},
                    {"field": hostile}, {hostile: 1}]}  # fmt: skip
    for place in range(5):
        html = ask(boss, rule, open=[place])["html"]
        assert "&lt;script&gt;" in html and "<script" not in html
    segment = Segment.objects.create(key="t", name="T", rule={"all": rule["all"][:2]})
    for address in (reverse("admin:contacts_segment_change", args=[segment.pk]), url("changelist")):
        page = boss.get(address).content.decode()
        assert "&lt;script&gt;" in page and "<script>alert" not in page


# Whom it means -------------------------------------------------------------------------------------------------------


def test_the_count_the_people_and_what_each_condition_takes_out(boss):
    for country, stage in [("CZ", "lead"), ("CZ", "lead"), ("CZ", "customer"), ("PL", "lead")]:
        Contact.objects.create(first_name=country, country=country, stage=stage)
    html = boss.post(url("preview"), {"rule": json.dumps({"all": [CZECH, LEAD]})}).content.decode()
    assert "<strong>2 people</strong>" in html and html.count("data-try") == 2 and html.count("−1") == 2


def test_a_person_is_tried_on_each_condition(boss, now):
    ann = Contact.objects.create(first_name="Ann", country="CZ", stage="customer")
    Touchpoint.objects.create(contact=ann, kind="page.viewed", occurred_at=now, received_at=now)
    told = ask(boss, {"all": [CZECH, LEAD, {"not": LEAD}]}, person=str(ann.pk))
    assert told["html"].count("rule-mark is-good") == 2 and told["html"].count("rule-mark is-bad") == 1
    assert "Czechia" in told["html"] and "Ann does not belong here" in told["person"]
    assert "Ann belongs here" in ask(boss, CZECH, person=str(ann.pk))["person"]
    assert "Finish the marked" in ask(boss, {"all": [CZECH, {}]}, person=str(ann.pk))["person"]
    assert ask(boss, CZECH, person="99999999999999999999")["person"].strip() == ""
    found = boss.post(url("people"), {"q": "an"}).json()["people"]
    assert [one["name"] for one in found] == ["Ann"]
    assert boss.post(url("people"), {"q": ""}).json()["people"] == []


def test_nobody_asks_who_may_not(client):
    Contact.objects.create(first_name="Ann")
    Contact.objects.create(first_name="Ben", email="ben@example.com")
    user = User.objects.create_user("ann", is_staff=True)
    client.force_login(user)
    names = ["draw", "preview", "people"]
    assert [client.post(url(name), {"q": "b", "rule": "", "name": "x"}).status_code for name in names] == [403] * 3
    user.user_permissions.add(Permission.objects.get(codename="view_segment"))
    assert [client.post(url(name), {"q": "b", "rule": "", "name": "x"}).status_code for name in names] == [200] * 3
    assert client.post(url("people"), {"q": "b"}).json()["people"] == [], "contacts that are not open to this user"
    assert [client.get(url(name)).status_code for name in names] == [405] * 3
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(user)
    assert [strict.post(url(name), {"rule": "", "name": "x"}).status_code for name in names] == [403] * 3


# The screens of segments ---------------------------------------------------------------------------------------------


def test_the_form_takes_yaml_and_json_and_a_rule_that_is_not_changed_is_not_asked_again(boss, now):
    data = {"name": "S", "key": "s", "overrides-TOTAL_FORMS": "0", "overrides-INITIAL_FORMS": "0"}
    for text in ("all:\n  - {field: country, op: in, value: [CZ]}\n", json.dumps({"all": [CZECH]})):
        assert boss.post(url("add"), data | {"rule": text}).status_code == 302
        segment = Segment.objects.get()
        assert segment.rule == {"all": [CZECH]}
        Segment.objects.update(sweep_at=None)
        page = boss.get(reverse("admin:contacts_segment_change", args=[segment.pk]))
        shown = page.context["adminform"].form["rule"].value()
        boss.post(reverse("admin:contacts_segment_change", args=[segment.pk]), data | {"rule": shown})
        assert Segment.objects.get().sweep_at is None
        Segment.objects.all().delete()


def test_the_list_says_who_belongs_where_and_marks_what_cannot_be_asked(boss, now):
    czech = Segment.objects.create(key="czech", name="Czech", rule={"any": [CZECH, {"not": VIEWED}]})
    Segment.objects.create(key="broken", name="Broken", rule={"field": "gone", "op": "eq", "value": 1})
    ann, ben = Contact.objects.create(first_name="Ann"), Contact.objects.create(first_name="Ben")
    Membership.objects.create(segment=czech, contact=ann, entered_at=now)
    for contact, is_member in ((ann, True), (ben, False)):
        MembershipOverride.objects.create(segment=czech, contact=contact, is_member=is_member)
    page = boss.get(url("changelist")).content.decode()
    assert "<strong>Country</strong> is any of <strong>Czechia</strong> <em>or</em> Never did" in page
    assert "Cannot be asked" in page and "There is no field" in page and "1 in, 1 out" in page
    people = boss.get(reverse("admin:contacts_contact_changelist"), {"segment": "czech"}).content.decode()
    assert "Ann" in people and "Ben" not in people


def test_a_long_rule_is_told_by_its_first_conditions():
    rule = {"all": [{"any": [CZECH, LEAD] * 5}, {"not": {"all": [CZECH, LEAD]}}]}
    assert in_words(rule, Vocabulary()).count("Country") == 3 and "…" in in_words(rule, Vocabulary())


def test_an_empty_list_teaches_and_begins_with_a_recipe(boss, now):
    page = boss.get(url("changelist")).content.decode()
    assert page.count("?recipe=") == 3 and "From scratch" in page
    for key, (name, _about, rule) in RECIPES.items():
        form = boss.get(url("add"), {"recipe": key}).context["adminform"].form
        assert (form["name"].value(), form.initial["rule"]) == (str(name), rule) and parse(rule)
    assert boss.get(url("add"), {"recipe": "nonsense"}).status_code == 200


def test_people_are_put_in_and_kept_out_by_hand_and_it_is_known_by_whom(boss, now):
    ann = Contact.objects.create(first_name="Ann", country="CZ")
    segment = Segment.objects.create(key="s", name="S", rule=CZECH)
    address = reverse("admin:contacts_segment_change", args=[segment.pk])
    data = {
        "name": "S", "rule": json.dumps(CZECH), "overrides-TOTAL_FORMS": "1", "overrides-INITIAL_FORMS": "0",
        "overrides-0-contact": ann.pk, "overrides-0-is_member": "False", "overrides-0-segment": segment.pk,
    }  # fmt: skip
    assert boss.post(address, data).status_code == 302
    kept = MembershipOverride.objects.get()
    assert (kept.is_member, kept.made_by.username) == (False, "boss")
    page = boss.get(address).content.decode()
    assert '<option value="False" selected>kept out' in page and "boss" in page


def test_every_answer_of_a_tried_person_finds_its_row(now):
    rule = {"not": {"any": [CZECH, {"not": {"all": [VIEWED, {"not": LEAD}]}}]}}
    root = ruletree.rooted(rule)
    paths = [ruletree.path_of(root, at) for at, part in ruletree.walk(root) if ruletree.parts_of(part) is None]
    assert paths == [path for path, _leaf in leaves_of(parse(rule))]


def test_the_script_and_styles_stay_small():
    def size(name):
        return len(gzip.compress(Path(finders.find(name)).read_bytes()))

    assert size("contacts/rules.js") <= 8_000 and size("contacts/rules.css") <= 5_000
