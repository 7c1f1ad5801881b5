"""Grades: a letter of fit and a number of engagement, exact at the moment of asking, wherever one asks."""

from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.urls import reverse

from contacts.explaining import explain
from contacts.ruleeditor import Editor
from contacts.rulefields import Vocabulary
from contacts.rules import RuleError, dump, matching, parse
from contacts.rules import explain as explain_rule
from contacts.turning import next_turn
from journey_crm import as_code
from scoring.grades import count_grades, grades_at, grades_of
from scoring.models import GradeMatrix
from tests.scoring.world import NOW, did, known, model, rule, tick

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss():
    return get_user_model().objects.create_superuser("boss")


@pytest.fixture
def matrix():
    """A from 30 points of fit, B from 10; 1 from 20 points of engagement, 2 from 5."""
    fit, engagement = model("fit", kind="fit"), model("engagement")
    rule(fit, {"field": "country", "op": "eq", "value": "CZ"}, 10, key="market")
    rule(fit, {"field": "job_title", "op": "eq", "value": "Owner"}, 20, key="role")
    rule(engagement, "page.viewed", 10, days=14, key="page")
    return GradeMatrix.objects.create(
        key="product", name="Product", fit=fit, engagement=engagement, fit_from=[30, 10], engagement_from=[20, 5]
    )


def people():
    """Somebody of each of five grades, by the grade."""
    found = {
        "A1": known("a1@example.com", country="CZ", job_title="Owner"),
        "A3": known("a3@example.com", country="CZ", job_title="Owner"),
        "B2": known("b2@example.com", country="CZ"),
        "C1": known("c1@example.com"),
        "C3": known("c3@example.com"),
    }
    for grade in ("A1", "A1", "C1", "C1", "B2"):
        did(found[grade], "page.viewed")
    tick()
    return found


def test_everybody_has_the_grade_of_the_two_scores_at_the_moment_of_asking(matrix):
    found = people()
    ids = {contact.pk: grade for grade, contact in found.items()}
    assert grades_at(matrix, ids, NOW) == ids
    assert grades_of(found["B2"], NOW) == [(matrix, "B2")]
    # Twenty points are ten after a half-life, and five after two: exactly on the bound, which is reached.
    later = {pk: grade.replace("1", "2") for pk, grade in ids.items()}
    assert grades_at(matrix, ids, NOW + timedelta(days=28)) == later | {found["B2"].pk: "B3"}
    assert set(grades_at(matrix, ids, NOW + timedelta(days=29)).values()) == {"A3", "B3", "C3"}
    assert grades_at(matrix, ids, NOW - timedelta(seconds=1))[found["C1"].pk] == "C3"


def test_a_rule_asks_for_grades_and_says_why(matrix):
    found = people()
    asked = parse({"grade": "product", "op": "in", "value": ["A1", "B2"]})
    assert parse(dump(asked)) == asked
    assert set(matching(asked, NOW)) == {found["A1"], found["B2"]}
    assert set(matching({"grade": "product", "op": "ne", "value": "C3"}, NOW)) == {
        found[grade] for grade in ("A1", "A3", "B2", "C1")
    }
    (answer,) = explain_rule(asked, found["B2"], NOW)
    assert answer.is_true and answer.says == "The grade “Product” is any of A1, B2"
    assert answer.because == "The grade is B2: fit 10.0, engagement 10.0."
    assert [one["rule"] for one in answer.evidence["rules"]] == ["market", "page"]


def test_the_builder_of_rules_offers_the_grades_that_a_matrix_has(matrix):
    editor = Editor(Vocabulary())
    leaf = editor.new("leaf:grade", {})
    assert leaf == {"grade": "product", "op": "in", "value": []}
    form = {"what": ["leaf:grade"], "choice": ["product"], "op": ["in"], "value.add": ["A1"]}
    asked, is_negated = editor.read(form, leaf, False)
    assert (asked, is_negated) == ({"grade": "product", "op": "in", "value": ["A1"]}, False)
    chips = editor.lines(asked, False)[0]["controls"][-1]
    assert chips["items"] == [("A1", "A1")]
    assert [value for value, _label in chips["add"]["options"] if value] == matrix.grades[1:]


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"grade": "nothing", "op": "in", "value": ["A1"]}, "grade"),
        ({"grade": "product", "op": "in", "value": ["A1", "D1"]}, "value[1]"),
        ({"grade": "product", "op": "eq", "value": "A4"}, "value"),
        ({"grade": "product", "op": "contains", "value": "A"}, "op"),
        ({"grade": "product", "op": "in", "value": []}, "value"),
        ({"grade": "product", "op": "in", "valu": ["A1"]}, "valu"),
    ],
)
def test_a_grade_that_there_is_not_is_refused_with_the_place(asked, path, matrix):
    with pytest.raises(RuleError) as error:
        parse(asked)
    assert error.value.path == path


def test_the_clock_turns_a_grade_at_the_instant_at_which_a_score_meets_a_bound(matrix):
    matrix.fit.rules.all().delete()
    rule(matrix.fit, {"stage": "known"}, 10)
    contact = known(stage="known")
    did(contact, "page.viewed")
    did(contact, "page.viewed", NOW - timedelta(days=14))
    tick()
    asked = parse({"grade": "product", "op": "eq", "value": "C2"})
    turn = next_turn(asked, NOW)
    (at,) = type(contact).objects.annotate(turn=turn).values_list("turn", flat=True)
    # Fifteen points are under the bound of 20, and fade to 5 in 14 · log2(3) days.
    assert abs((at - NOW) / timedelta(days=1) - 22.189475) < 1e-5
    assert grades_at(matrix, [contact.pk], at - timedelta(seconds=1)) == {contact.pk: "B2"}
    assert grades_at(matrix, [contact.pk], at + timedelta(seconds=1)) == {contact.pk: "B3"}


def test_bounds_that_do_not_fall_are_refused_by_the_schema(matrix):
    for bad in ([], [10, 30], [10, 10], [*range(9, 0, -1)]):
        with pytest.raises(IntegrityError), transaction.atomic():
            GradeMatrix.objects.filter(pk=matrix.pk).update(fit_from=bad)
    GradeMatrix.objects.filter(pk=matrix.pk).update(fit_from=[8, 7, 6, 5, 4, 3, 2, 1])


def test_a_matrix_may_be_as_wide_as_a_brand_wants_and_there_may_be_several(matrix, boss):
    brand = GradeMatrix.objects.create(
        key="brand", fit=matrix.fit, engagement=matrix.engagement, fit_from=[30, 20, 10, 5], engagement_from=[10]
    )
    found = people()
    assert grades_of(found["B2"], NOW) == [(brand, "C1"), (matrix, "B2")]
    assert len(brand.grades) == 10 and brand.grades[-1] == "E2"
    counted = count_grades(brand, boss, NOW)
    assert {grade: count for grade, count in counted.items() if count} == {"A1": 1, "A2": 1, "C1": 1, "E1": 1, "E2": 1}


def test_why_a_grade_is_what_it_is_is_explained_at_any_instant(matrix):
    contact = people()["A1"]
    told = explain("grade", "product", contact, NOW + timedelta(days=29))
    assert told["grade"] == "A3"
    assert told["fit"]["value"] == 30 and [one["rule"] for one in told["engagement"]["points"]] == ["page"]
    assert explain("grade", "product", contact, NOW)["grade"] == "A1"


# Screens and files ---------------------------------------------------------------------------------------------------


def test_the_page_counts_the_people_of_each_cell_and_leads_to_them(client, boss, matrix):
    found = people()
    client.force_login(boss)
    with time_machine.travel(NOW, tick=False):
        page = client.get(reverse("admin:scoring_gradematrix_change", args=[matrix.pk]))
        assert page.context["cells"] == [
            ("A", [("A1", 1), ("A2", 0), ("A3", 1)]),
            ("B", [("B1", 0), ("B2", 1), ("B3", 0)]),
            ("C", [("C1", 1), ("C2", 0), ("C3", 1)]),
        ]
        address = f"{reverse('admin:contacts_contact_changelist')}?grade=product:B2"
        assert address in page.content.decode()
        people_of = client.get(address).context["cl"].result_list
        assert list(people_of) == [found["B2"]]
        assert not client.get(address.replace("product", "gone")).context["cl"].result_list
        page = client.get(reverse("admin:contacts_contact_change", args=[found["B2"].pk])).content.decode()
    assert "Product: B2" in page


def test_a_matrix_is_made_on_the_page_and_a_wrong_one_refused(client, boss, matrix):
    client.force_login(boss)
    form = {"key": "brand", "name": "Brand", "fit": matrix.fit_id, "engagement": matrix.engagement_id}
    add = reverse("admin:scoring_gradematrix_add")
    answer = client.post(add, form | {"fit_from": "10, 30", "engagement_from": "50"})
    assert "each smaller than the one before it" in answer.content.decode()
    answer = client.post(add, form | {"fit": matrix.engagement_id, "fit_from": "30", "engagement_from": "50"})
    assert "fit" in answer.context["adminform"].form.errors
    assert client.post(add, form | {"fit_from": "30, 10.5", "engagement_from": "50"}).status_code == 302
    assert GradeMatrix.objects.get(key="brand").fit_from == [30, 10.5]


def test_matrices_go_through_a_file_to_the_byte(matrix):
    text = as_code.write(as_code.export())
    assert "grades:" in text
    assert {change.what for change in as_code.apply([as_code.read(text)], now=NOW)} == {"unchanged"}
    GradeMatrix.objects.all().delete()
    changes = as_code.apply([as_code.read(text)], now=NOW)
    assert [str(change) for change in changes if change.what == "created"] == ["created   grades product"]
    assert as_code.write(as_code.export()) == text


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ("fit: nothing, engagement: engagement, fit_from: [3], engagement_from: [3]", "grades.brand.fit"),
        ("fit: engagement, engagement: engagement, fit_from: [3], engagement_from: [3]", "grades.brand.fit"),
        ("fit: fit, engagement: engagement, fit_from: [3, 4], engagement_from: [3]", "grades.brand.fit_from"),
        ("fit: fit, engagement: engagement, fit_from: [3], engagement_from: high", "grades.brand.engagement_from"),
        ("fit: fit, engagement: engagement, fit_from: [3]", "grades.brand.engagement_from"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_place(part, path, matrix):
    with pytest.raises(as_code.DefinitionError) as error:
        as_code.apply([as_code.read(f"grades: [{{key: brand, {part}}}]")], now=NOW)
    assert error.value.path == path
