"""What if: the answer before saving is what saving then makes of everybody, and nothing is written by asking."""

import json
import random
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import connection, transaction
from django.urls import reverse

import scoring.whatif
from contacts.models import Contact, Touchpoint
from contacts.sql import Statement
from journey_crm import as_code
from journey_crm.roles import MARKETER, ensure_roles
from scoring.models import ContactScore, GradeMatrix, ScoreEntry, ScoreGroup, ScoreModel, ScoreRule
from scoring.points import score_at
from scoring.whatif import Draft, what_if
from tests.scoring.world import NOW, known, model, rule, tick, told, visitor

pytestmark = pytest.mark.django_db

PRICES = {"did": "page.viewed", "where": [{"field": "url", "op": "contains", "value": "/pricing"}]}


@pytest.fixture
def boss():
    return get_user_model().objects.create_superuser("boss")


@pytest.fixture
def crowd():
    """Two dozen people, some of them nobody knows, who looked at pages and clicked over two months; and a score."""
    chance = random.Random(7)
    engagement = model("engagement", qualify_at=30, name="Engagement")
    rule(engagement, "page.viewed", 3, days=14, cap=9, key="page")
    rule(engagement, PRICES, 10, days=30, cap=20, key="pricing")
    rule(engagement, "email.complained", -15, key="complaint")
    people = [known(f"p{number}@example.com") if number % 4 else visitor() for number in range(24)]
    kinds = [*["page.viewed"] * 8, *["email.clicked"] * 3, "email.complained"]
    touchpoints = []
    for contact in people:
        for _ in range(chance.randrange(16)):
            at = NOW - timedelta(minutes=chance.randrange(60 * 24 * 60))
            url = chance.choice(["https://x.example/pricing", "https://x.example/"])
            touchpoints.append(
                Touchpoint(
                    contact=contact, kind=chance.choice(kinds), occurred_at=at, received_at=NOW, properties={"url": url}
                )
            )
    Touchpoint.objects.bulk_create(touchpoints)
    tick(NOW)
    assert 2 < ContactScore.objects.filter(is_over=True).count() < 15
    return engagement


def drafted(engagement: ScoreModel, **changes) -> Draft:
    """The score as stored, with changes: fields of the model, and by `rules` of its rules by their keys."""
    rules = {one.key: one for one in ScoreRule.objects.filter(model=engagement).select_related("group")}
    for key, values in changes.pop("rules", {}).items():
        if values is None:
            del rules[key]
            continue
        one = rules.setdefault(key, ScoreRule(model=engagement, key=key))
        for name, value in values.items():
            setattr(one, name, value)
    mine = ScoreModel.objects.get(pk=engagement.pk)
    for name, value in changes.items():
        setattr(mine, name, value)
    return Draft(mine, list(rules.values()), list(mine.groups.all()), ScoreModel.objects.get(pk=engagement.pk))


def save(draft: Draft, *, recount: bool) -> None:
    """What the form would do."""
    draft.model.is_recount_asked = recount
    draft.model.save()
    draft.model.rules.exclude(pk__in=[one.pk for one in draft.rules if one.pk]).delete()
    for one in draft.rules:
        one.model = draft.model
        one.save()


def standing(engagement: ScoreModel) -> dict[int, bool]:
    return dict(ContactScore.objects.filter(model=engagement).values_list("contact", "is_over"))


CHANGES = {
    "lower line": {"qualify_at": 18},
    "higher line": {"qualify_at": 45, "hysteresis": 0},
    "no line": {"qualify_at": None},
    "more points": {"rules": {"page": {"points": 12, "cap_per_day": None}}},
    "another question": {"rules": {"pricing": {"when": {"did": "page.viewed"}}}},
    "slower fading": {"rules": {"page": {"half_life": None}, "pricing": {"half_life": timedelta(days=300)}}},
    "a rule less": {"rules": {"complaint": None}},
    "a rule more": {"rules": {"click": {"when": {"did": "email.clicked"}, "points": 25}}},
    "one switched off": {"rules": {"complaint": {"is_active": False}}},
    "all at once": {
        "qualify_at": 25,
        "rules": {"complaint": None, "page": {"points": -1}, "click": {"when": {"did": "email.clicked"}, "points": 40}},
    },
}


MOVES = {"lower line", "higher line", "no line", "a rule less", "all at once"}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_foreseen_is_what_saving_then_does(crowd, boss, change):
    before, was_over = score_at(crowd, None, NOW), standing(crowd)
    seen = what_if(drafted(crowd, **CHANGES[change]), boss, NOW)
    assert not seen.is_estimate and not seen.is_late
    assert score_at(crowd, None, NOW) == pytest.approx(before) and standing(crowd) == was_over, "asking did something"
    for foreseen, is_recount in ((seen.at_once, False), (seen.recounted, True)):
        with transaction.atomic():
            compare(crowd, foreseen, drafted(crowd, **CHANGES[change]), is_recount, before, was_over)
            transaction.set_rollback(True)
    if change in MOVES:
        assert seen.at_once.rises or seen.at_once.falls, "this change should move somebody"


def compare(crowd, foreseen, draft, is_recount, before, was_over):
    known_before = set(Contact.objects.filter(stage__in=["known", "lead"]).values_list("pk", flat=True))
    save(draft, recount=is_recount)
    tick(NOW)
    after, is_over = score_at(crowd, None, NOW), standing(crowd)
    risen = {pk for pk, over in is_over.items() if over and not was_over.get(pk)}
    assert foreseen.rises == len(risen)
    assert foreseen.falls == sum(over and not is_over.get(pk) for pk, over in was_over.items())
    assert foreseen.changed == sum(abs(before.get(pk, 0) - after.get(pk, 0)) > 1e-6 for pk in {*before, *after})
    assert foreseen.qualified == len(risen & known_before)
    assert Contact.objects.filter(pk__in=risen & known_before, stage="qualified").count() == foreseen.qualified
    assert sum(one.points for one in foreseen.rules) == pytest.approx(sum(after.values()))
    assert sum(one.points_before for one in foreseen.rules) == pytest.approx(sum(before.values()))
    for one in foreseen.people:
        pk = one.contact.pk
        assert (one.before, one.after) == pytest.approx((before.get(pk, 0), after.get(pk, 0)))


def test_a_rule_that_is_new_counts_from_now_on_and_both_truths_are_told(crowd, boss):
    seen = what_if(drafted(crowd, rules={"click": {"when": {"did": "email.clicked"}, "points": 60}}), boss, NOW)
    assert seen.at_once.is_nothing and seen.recounted.rises > 0
    (click,) = [one for one in seen.recounted.rules if one.name == "click"]
    assert (
        click.people_before == 0
        and click.people > 5
        and click.difference == 60 * Touchpoint.objects.filter(kind="email.clicked").count()
    )


def test_an_edited_cap_of_a_group_is_weighed_with_its_rules(crowd, boss):
    group = ScoreGroup.objects.create(model=crowd, key="web", cap_per_day=100)
    crowd.rules.filter(key__in=["page", "pricing"]).update(group=group)
    draft = drafted(crowd)
    draft.groups[0].cap_per_day = 4
    foreseen = what_if(draft, boss, NOW).recounted
    ScoreGroup.objects.update(cap_per_day=4)
    save(drafted(crowd), recount=True)
    tick(NOW)
    assert sum(one.points for one in foreseen.rules) == pytest.approx(sum(score_at(crowd, None, NOW).values()))
    assert all(weight <= 4 for weight in ScoreEntry.objects.filter(rule__group=group).values_list("points", flat=True))


def test_fit_is_asked_of_everybody_and_there_is_one_answer(boss):
    fit = model("fit", kind="fit", qualify_at=15)
    rule(fit, {"field": "country", "op": "eq", "value": "CZ"}, 10, key="market")
    engagement = model()
    matrix = GradeMatrix.objects.create(
        key="product", fit=fit, engagement=engagement, fit_from=[20, 10], engagement_from=[10]
    )
    jana = known("jana@example.com", country="CZ", job_title="Owner")
    known("petr@example.com", country="CZ"), known("eva@example.com", job_title="Owner")
    tick()
    role = {"when": {"field": "job_title", "op": "eq", "value": "Owner"}, "points": 10}
    seen = what_if(drafted(fit, rules={"role": role}), boss, NOW)
    assert seen.recounted is None
    assert (seen.at_once.rises, seen.at_once.qualified, seen.at_once.changed) == (1, 1, 2)
    assert seen.at_once.grades == [(matrix, 2)]
    assert seen.at_once.people[0].contact == jana and seen.at_once.people[0].is_over
    save(drafted(fit, rules={"role": role}), recount=False)
    tick()
    assert [one["score"] for one in told(jana, "score.crossed")] == ["fit"]


def test_a_score_that_is_not_there_yet_can_be_weighed(crowd, boss):
    new = ScoreModel(key="brand", qualify_at=10)
    draft = Draft(new, [ScoreRule(key="page", when={"did": "page.viewed"}, points=10)])
    seen = what_if(draft, boss, NOW)
    assert seen.at_once.is_nothing and seen.recounted.rises == seen.recounted.changed > 5
    assert new.pk is None and ScoreModel.objects.count() == 1


def test_many_are_weighed_by_a_sample_and_what_takes_too_long_says_so(crowd, boss, monkeypatch):
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE contacts_contact, contacts_touchpoint")
    monkeypatch.setattr(scoring.whatif, "MOST_TOUCHPOINTS", 50)
    assert what_if(drafted(crowd, qualify_at=18), boss, NOW).is_estimate
    monkeypatch.setattr(scoring.whatif, "TIME_LIMIT", timedelta(milliseconds=1))
    monkeypatch.setattr(scoring.whatif, "MOST_TOUCHPOINTS", 200_000)
    slow = scoring.whatif.SQL | {"weigh": Statement("weigh", "", "SELECT pg_sleep(1)")}
    monkeypatch.setattr(scoring.whatif, "SQL", slow)
    seen = what_if(drafted(crowd, qualify_at=18), boss, NOW)
    assert seen.is_late and seen.at_once is None
    assert ScoreEntry.objects.exists()


# Where people ask ----------------------------------------------------------------------------------------------------


def form_of(engagement: ScoreModel, **changes) -> dict:
    rules = list(engagement.rules.order_by("key"))
    form = {
        "key": engagement.key, "name": engagement.name, "kind": engagement.kind, "qualify_at": "30", "hysteresis": "5",
        "rules-TOTAL_FORMS": len(rules), "rules-INITIAL_FORMS": len(rules),
        "groups-TOTAL_FORMS": "0", "groups-INITIAL_FORMS": "0",
    }  # fmt: skip
    for place, one in enumerate(rules):
        values = {"id": one.pk, "key": one.key, "when": json.dumps(one.when), "points": one.points, "is_active": "on",
                  "half_life": f"{one.half_life.days}d" if one.half_life else "",
                  "cap_per_day": one.cap_per_day or ""}  # fmt: skip
        form |= {f"rules-{place}-{name}": value for name, value in values.items()}
    return form | changes


def test_the_form_is_weighed_before_it_is_saved(client, crowd, boss):
    client.force_login(boss)
    page = client.get(reverse("admin:scoring_scoremodel_change", args=[crowd.pk])).content.decode()
    address = f"{reverse('admin:scoring_scoremodel_whatif')}?of={crowd.pk}"
    assert f'data-url="{address}"' in page
    foreseen = what_if(drafted(crowd, qualify_at=18), boss, NOW)
    with time_machine.travel(NOW, tick=False):
        answer = client.post(address, form_of(crowd, qualify_at="18"))
    assert answer.status_code == 200 and answer.context["seen"].at_once.rises == foreseen.at_once.rises > 0
    shown = answer.content.decode()
    assert f"<strong>{foreseen.at_once.rises}</strong> people rise over the line" in shown
    assert "If it is recounted after saving" in shown
    assert ScoreModel.objects.get().qualify_at == 30
    answer = client.post(address, form_of(crowd, **{"rules-0-when": '{"did": "x"}', "rules-1-points": "many"}))
    assert answer.status_code == 422 and "Points · Enter a number." in answer.content.decode()
    assert client.post(address.replace(str(crowd.pk), "99999"), form_of(crowd)).status_code == 404
    assert client.get(address).status_code == 405


def test_who_may_only_look_at_scores_cannot_weigh_them(client, crowd):
    user = get_user_model().objects.create_user("looker", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_scoremodel", "view_scorerule"]))
    client.force_login(user)
    page = client.get(reverse("admin:scoring_scoremodel_change", args=[crowd.pk]))
    assert page.status_code == 200 and 'id="whatif"' not in page.content.decode()
    assert client.post(f"{reverse('admin:scoring_scoremodel_whatif')}?of={crowd.pk}", form_of(crowd)).status_code == 403


def test_the_form_says_each_rule_in_words_and_what_it_gave_of_late(client, crowd):
    user = get_user_model().objects.create_user("mark", is_staff=True)
    user.groups.add(ensure_roles()[MARKETER])
    client.force_login(user)
    page = client.get(reverse("admin:scoring_scoremodel_change", args=[crowd.pk])).content.decode()
    assert "+3 points each time, halves every 14 days, at most 9 a day" in page
    assert "−15 points each time, never fades" in page
    assert 'value="14d"' in page


def test_a_recount_can_be_asked_with_saving(client, crowd, boss):
    client.force_login(boss)
    form = form_of(crowd, recount="on", **{"rules-1-half_life": "2w"})
    assert client.post(reverse("admin:scoring_scoremodel_change", args=[crowd.pk]), form).status_code == 302
    assert ScoreModel.objects.get().is_recount_asked
    assert crowd.rules.get(key="page").half_life == timedelta(days=14)


def test_the_first_score_begins_with_an_example_that_is_saved_as_it_stands(client, boss):
    client.force_login(boss)
    add = reverse("admin:scoring_scoremodel_add")
    assert "What a score is" in client.get(add).content.decode()
    page = client.get(f"{add}?recipe=engagement")
    form = {"rules-TOTAL_FORMS": 3, "rules-INITIAL_FORMS": 0, "groups-TOTAL_FORMS": 0, "groups-INITIAL_FORMS": 0}
    for part in (page.context["adminform"].form, *(one.formset for one in page.context["inline_admin_formsets"])):
        for one in [part, *getattr(part, "forms", [])]:
            for field in one if hasattr(one, "fields") else []:
                if field.value() not in (None, False):
                    form[field.html_name] = field.value()
    answer = client.post(f"{add}?recipe=engagement", form)
    assert answer.status_code == 302, answer.context["errors"]
    assert ScoreModel.objects.get().rules.count() == 3


def test_a_plan_says_whom_it_moves(crowd, capsys, tmp_path):
    text = as_code.write(as_code.export(["engagement"]))
    (tmp_path / "lower.yaml").write_text(text.replace("qualify_at: 30", "qualify_at: 18"))
    with time_machine.travel(NOW, tick=False):
        call_command("apply", str(tmp_path / "lower.yaml"), "--plan")
    shown = capsys.readouterr().out
    foreseen = what_if(drafted(crowd, qualify_at=18), None, NOW)
    assert f"at once: {foreseen.at_once.rises} rise over the line, 0 fall under it" in shown
    assert "if it is recounted: " in shown
    assert ScoreModel.objects.get().qualify_at == 30


def test_what_if_of_fit_books_beside_what_is_kept_whatever_the_numbers_of_its_rows(boss):
    fit = model("fit", kind="fit", qualify_at=10)
    there = rule(fit, {"field": "country", "op": "eq", "value": "CZ"}, 10, key="czech")
    people = [known(f"p{number}@example.com", country="CZ" if number < 3 else "PL") for number in range(9)]
    tick(NOW)
    # As in a house where nothing was ever counted before.
    for number, entry in enumerate(ScoreEntry.objects.order_by("pk"), 1):
        ScoreEntry.objects.filter(pk=entry.pk).update(id=number)
    there.when = {"field": "country", "op": "in", "value": ["CZ", "PL"]}
    seen = what_if(Draft(fit, [there], [], ScoreModel.objects.get(pk=fit.pk)), boss, NOW)
    assert seen.at_once is not None and seen.at_once.rises == len(people) - 3
