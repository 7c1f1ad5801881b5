"""The three screens: list, drawing, forms, publishing; by POST only, and only for whoever may."""

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from campaigns import publishing
from campaigns.models import Journey
from tests.campaigns.world import did, journey, person, templates, tick

pytestmark = pytest.mark.django_db

STEPS = [
    {"key": "hello", "send": "hello"},
    {"key": "rest", "wait": "2d"},
    {
        "key": "asked",
        "ask": {"did": "project.created"},
        "then": [{"key": "bravo", "send": "bravo"}],
        "else": [{"key": "call", "handoff": {"reason": "no project"}}],
    },
    {"key": "split", "split": {"a": 50, "b": 50}, "a": [{"key": "out", "exit": "done"}], "b": []},
]


def url(one: Journey, view: str = "change", model: str = "onboardingsequence") -> str:
    return reverse(f"admin:campaigns_{model}_{view}", args=[one.pk])


@pytest.fixture
def admin(client) -> User:
    user = User.objects.create_superuser("boss")
    client.force_login(user)
    return user


def draft(one: Journey) -> dict:
    one.refresh_from_db()
    return publishing.draft_of(one)


def test_the_list_shows_state_version_and_people(client, admin, now):
    journey(now, name="Trial to paid", steps=STEPS)
    did(person(), "trial.started", now)
    tick(now)
    page = client.get(reverse("admin:campaigns_onboardingsequence_changelist")).content.decode()
    assert "Trial to paid" in page
    assert "v1" in page
    assert client.get(reverse("admin:campaigns_nurturetrack_changelist")).content.decode().count("Trial to paid") == 0


def test_the_drawing_shows_every_step_with_live_numbers(client, admin, now):
    one = journey(now, steps=STEPS)
    did(person(), "trial.started", now)
    tick(now)
    page = client.get(url(one)).content.decode()
    for key in ("hello", "rest", "asked", "bravo", "call", "split", "out"):
        assert f"?step={key}" in page
    assert "<strong>1</strong> is here" in page


@pytest.mark.parametrize("key", ["hello", "rest", "asked", "call", "split", "out"])
def test_saving_a_step_as_it_is_changes_nothing(client, admin, now, key):
    one = journey(now, steps=STEPS)
    response = client.get(url(one), {"step": key})
    form = response.context["form"]
    data = {name: field.value() for name, field in ((field.name, field) for field in form)}
    data = {name: "" if value is None else form.fields[name].prepare_value(value) for name, value in data.items()}
    before = draft(one)
    response = client.post(url(one, "step"), {"do": "configure", "key": key, "revision": one.revision, **data})
    assert response.status_code == 302
    assert draft(one) == before
    assert one.revision == 2


def test_a_form_changes_its_step_and_refuses_what_cannot_be_read(client, admin, now):
    one = journey(now, steps=STEPS)
    client.post(url(one, "step"), {"do": "configure", "key": "rest", "wait": "5d", "revision": "1"})
    assert draft(one)["steps"][1] == {"key": "rest", "wait": "5d"}
    response = client.post(url(one, "step"), {"do": "configure", "key": "asked", "ask": "{did: [", "revision": "2"})
    assert response.status_code == 422
    assert "look at line 1" in response.content.decode()


def test_steps_are_added_moved_and_deleted(client, admin, now):
    one = journey(now, steps=STEPS)

    def op(**data):
        one.refresh_from_db()
        assert client.post(url(one, "step"), {"revision": one.revision, **data}).status_code == 302
        return draft(one)

    assert [step["key"] for step in op(do="insert", key="hello", kind="wait")["steps"]][:3] == ["hello", "wait", "rest"]
    assert [step["key"] for step in op(do="move", key="wait", by="1")["steps"]][:3] == ["hello", "rest", "wait"]
    assert op(do="insert", key="split", path="b", kind="send")["steps"][4]["b"] == [{"send": "", "key": "send"}]
    assert len(op(do="delete", key="wait")["steps"]) == 4
    assert op(do="delete", key="split") == draft(one), "a fork with steps on its paths is not deleted"
    assert op(do="insert", key="", kind="wait")["steps"][0]["key"] == "wait"
    assert client.get(url(one), {"step": "send"}).status_code == 200


def test_an_editor_who_is_behind_is_told_and_changes_nothing(client, admin, now):
    one = journey(now, steps=STEPS)
    publishing.save_draft(journey=one, definition=draft(one), by=admin, now=now, message="Karel was here")
    response = client.post(url(one, "step"), {"do": "delete", "key": "hello", "revision": "1"})
    assert response.status_code == 409
    assert "Karel was here" in response.content.decode()
    assert len(draft(one)["steps"]) == 4


def test_the_whole_may_be_written_as_text(client, admin, now):
    one = journey(now, steps=STEPS)
    text = "key: j\nkind: onboarding\ntrigger: manual\nsteps:\n- wait_until: {local_time: 09:00}\n"
    client.post(url(one, "text"), {"definition": text, "revision": one.revision})
    assert draft(one)["steps"] == [{"wait_until": {"local_time": "09:00"}, "key": "wait-until"}]
    for wrong in ("steps: [", "- 1", ""):
        assert client.post(url(one, "text"), {"definition": wrong, "revision": "2"}).status_code == 422
    # Anything that is a mapping is kept, and its problems are shown.
    text = "steps: 3\nstreams: [1, {items: [2]}]\ntrigger: {a: b}"
    assert client.post(url(one, "text"), {"definition": text, "revision": "2"}).status_code == 302
    page = client.get(url(one))
    assert page.status_code == 200
    assert page.context["errors"]


def test_publishing_shows_what_changes_and_happens_by_post_only(client, admin, now):
    one = journey(now, steps=STEPS)
    did(person(), "trial.started", now)
    tick(now)
    templates("new")
    changed = {**draft(one), "steps": [*STEPS[:1], {"key": "rest", "wait": "3d"}, {"key": "new", "send": "new"}]}
    publishing.save_draft(journey=one, definition=changed, by=None, now=now)
    page = client.get(url(one, "publish"))
    assert page.context["changes"] == {
        "added": ["new"],
        "removed": ["asked", "bravo", "call", "split", "out"],
        "changed": ["rest"],
        "settings": [],
    }
    assert "1 person is inside." in page.content.decode()
    one.refresh_from_db()
    assert one.version.number == 1
    client.post(url(one, "publish"))
    one.refresh_from_db()
    assert one.version.number == 2


def test_pause_and_resume(client, admin, now):
    one = journey(now, steps=STEPS)
    assert client.get(url(one, "act"), {"act": "pause"}).status_code == 405
    client.post(url(one, "act"), {"act": "pause"})
    one.refresh_from_db()
    assert (one.state, one.paused_by) == ("paused", admin)
    assert "Paused by boss" in client.get(url(one)).content.decode()
    client.post(url(one, "act"), {"act": "resume"})
    one.refresh_from_db()
    assert one.state == "live"


def test_without_permission_to_publish_a_journey_may_be_drawn_only(client, now):
    one = journey(now, steps=STEPS)
    user = User.objects.create_user("drawer", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=["view_onboardingsequence", "change_onboardingsequence"])
    )
    client.force_login(user)
    assert client.get(url(one)).status_code == 200
    assert client.post(url(one, "step"), {"do": "delete", "key": "hello", "revision": "1"}).status_code == 302
    assert client.get(url(one, "publish")).status_code == 403
    assert client.post(url(one, "act"), {"act": "pause"}).status_code == 403
    user.user_permissions.set(Permission.objects.filter(codename="view_onboardingsequence"))
    user = User.objects.get(pk=user.pk)
    client.force_login(user)
    assert client.get(url(one)).status_code == 200
    for view in ("step", "text"):
        assert client.post(url(one, view), {"do": "delete", "key": "hello"}).status_code == 403


def test_a_new_track_begins_as_an_empty_drawing(client, admin):
    response = client.post(
        reverse("admin:campaigns_nurturetrack_add"), {"name": "Education", "key": "education", "tier": 3}
    )
    one = Journey.objects.get()
    assert response.url == url(one, model="nurturetrack")
    assert (one.kind, one.state) == ("nurture", "draft")
    page = client.get(url(one, model="nurturetrack"))
    assert page.status_code == 200
    assert [problem.path for problem in page.context["errors"]] == ["streams"]
    client.post(url(one, "step", "nurturetrack"), {"do": "insert", "kind": "stream", "revision": "1"})
    page = client.get(url(one, model="nurturetrack"), {"step": "stream"})
    assert page.context["errors"] == []
    data = {"do": "configure", "key": "stream", "rrule": "FREQ=WEEKLY;BYDAY=TH", "at": "11:00", "items": "- send: one"}
    data["revision"] = "2"
    client.post(url(one, "step", "nurturetrack"), data)
    assert draft(one)["streams"] == [
        {
            "cadence": {"rrule": "FREQ=WEEKLY;BYDAY=TH", "at": "11:00"},
            "items": [{"send": "one", "key": "one"}],
            "key": "stream",
        }
    ]


def test_a_journey_that_ran_cannot_be_deleted(client, admin, now):
    one = journey(now, steps=STEPS)
    assert client.post(url(one, "delete"), {"post": "yes"}).status_code == 403
    assert Journey.objects.exists()


def test_names_of_people_and_steps_are_escaped(client, admin, now):
    one = journey(now, name="<script>x</script>", steps=[{"key": "a", "name": "<script>y</script>", "wait": "1d"}])
    page = client.get(url(one), {"step": "a"}).content.decode()
    assert "<script>x" not in page
    assert "<script>y" not in page


@pytest.mark.parametrize("revision", [None, "", "1", "²", "-1", "9" * 30])
def test_no_edit_passes_without_the_draft_that_its_editor_saw(client, admin, now, revision):
    one = journey(now, steps=STEPS)
    publishing.save_draft(journey=one, definition=draft(one), by=admin, now=now, message="Karel was here")
    seen = {} if revision is None else {"revision": revision}
    for view, data in [
        ("act", {"act": "undo"}),
        ("act", {"act": "redo"}),
        ("step", {"do": "delete", "key": "hello"}),
        ("text", {"definition": "steps: []"}),
    ]:
        response = client.post(url(one, view), data | seen)
        assert response.status_code == 409
        assert "Karel was here" in response.content.decode()
    one.refresh_from_db()
    assert one.revision == 2
    assert '<input type="hidden" name="revision" value="2">\n      <button class="button is-plain" name="act"' in (
        client.get(url(one)).content.decode()
    )
    client.post(url(one, "act"), {"act": "undo", "revision": "2"})
    one.refresh_from_db()
    assert one.revision == 1


@pytest.mark.parametrize(
    "text",
    [
        "&a [*a]",
        "steps: &a [*a]",
        'name: "a\\0b"',
        'name: "\\uD800"',
        "name: !!set {a}",
        "name: !!timestamp 2027-01-01",
        "tier: 1.0e400",
    ],
)
def test_what_the_database_cannot_keep_is_refused_in_the_form(client, admin, now, text):
    one = journey(now, steps=STEPS)
    assert client.post(url(one, "text"), {"definition": text, "revision": "1"}).status_code == 422
    assert (
        client.post(url(one, "step"), {"do": "configure", "key": "asked", "ask": text, "revision": "1"}).status_code
        == 422
    )
    one.refresh_from_db()
    assert one.revision == 1


@pytest.mark.parametrize(
    "text",
    [
        "steps: [{set: {field: [plan], value: 1}}, {start: [j]}, {jump_to: {a: b}}]",
        "reentry: {policy: [never]}",
        "name: [x]",
        "name: " + "x" * 300,
        "{key: [a], kind: [b], trigger: [[c]], goal: {action: [d]}, steps: [{split: [e]}, {name: {}, wait: 1}]}",
    ],
)
def test_a_wrong_draft_is_kept_and_its_page_says_what_is_wrong(client, admin, now, text):
    one = journey(now, name="Trial", steps=STEPS)
    assert client.post(url(one, "text"), {"definition": text, "revision": "1"}).status_code == 302
    page = client.get(url(one))
    assert page.status_code == 200
    assert page.context["errors"]
    one.refresh_from_db()
    assert one.name in ("Trial", "j")


def test_a_name_has_a_length(client, admin):
    data = {"name": "x" * 201, "key": "education", "tier": 3}
    assert client.post(reverse("admin:campaigns_nurturetrack_add"), data).status_code == 200
    assert not Journey.objects.exists()
    client.post(reverse("admin:campaigns_nurturetrack_add"), data | {"name": "x" * 200})
    assert len(Journey.objects.get().name) == 200


def test_odd_addresses_are_not_found_and_break_nothing(client, admin):
    page = reverse("admin:campaigns_nurturetrack_changelist")
    for wrong in ("²", "x", "9" * 30, "%00"):
        assert client.get(f"{page}{wrong}/change/").status_code in (400, 404)
    for query in ("state=%00", "state__exact=%00", "q=%00"):
        assert client.get(f"{page}?{query}").status_code in (200, 302, 400)


# Versions ------------------------------------------------------------------------------------------------------------


def inside(one: Journey, now, count: int = 3) -> None:
    for _number in range(count):
        did(person(), "trial.started", now)
    tick(now)
    one.refresh_from_db()


def without_rest(one: Journey, now) -> None:
    publishing.save_draft(journey=one, definition={**draft(one), "steps": [STEPS[0], *STEPS[2:]]}, by=None, now=now)
    one.refresh_from_db()


def test_the_publish_page_is_a_diff_with_a_choice_for_whoever_is_inside(client, admin, now):
    one = journey(now, steps=STEPS)
    inside(one, now)
    without_rest(one, now)
    page = client.get(url(one, "publish"))
    (row,) = [row for row in page.context["rows"] if row["options"]]
    assert (row["key"], row["change"], row["people"]) == ("rest", "removed", ["3 are here"])
    assert [option["value"] for option in row["options"]][:6] == [
        "", "finish", "release", "exit", "move:hello", "move:asked",
    ]  # fmt: skip
    blocked = client.post(url(one, "publish"), {"everybody": "follow"})
    assert blocked.status_code == 422
    assert "3 people stand at this step, which is gone: say what becomes of them." in blocked.content.decode()
    (row,) = [row for row in blocked.context["rows"] if row["options"]]
    assert [option["value"] for option in row["options"] if option["is_chosen"]] == ["move:asked"]
    client.post(url(one, "publish"), {"everybody": "follow", "choice:rest": "move:split"})
    one.refresh_from_db()
    assert one.version.number == 2
    assert one.version.sheet["steps"][2]["done"] == {"people": 3, "ghosts": 0}


def test_where_nobody_is_nothing_is_asked(client, admin, now):
    one = journey(now, steps=STEPS)
    without_rest(one, now)
    page = client.get(url(one, "publish"))
    assert 'name="everybody"' not in page.content.decode()
    assert [row for row in page.context["rows"] if row["options"]] == []


def test_a_step_that_is_gone_since_long_is_shown_while_somebody_stands_there(client, admin, now):
    one = journey(now, steps=STEPS)
    inside(one, now)
    without_rest(one, now)
    publishing.publish(journey=one, by=None, now=now)
    publishing.save_draft(journey=one, definition={**draft(one), "name": "New"}, by=None, now=now)
    page = client.get(url(one, "publish"))
    assert [(row["key"], row["change"]) for row in page.context["rows"]] == [("rest", "removed")]


def test_versions_are_listed_rolled_back_and_made_the_draft(client, admin, now):
    one = journey(now, steps=STEPS)
    inside(one, now)
    without_rest(one, now)
    publishing.publish(journey=one, by=admin, now=now, choices={"rest": {"do": "exit"}})
    page = client.get(url(one, "versions")).content.decode()
    assert "Of the people then inside: 3 left" in page
    assert "?version=1" in page
    assert "?version=2" not in page
    sheet = client.get(url(one, "publish"), {"version": "1"})
    assert "Publish version 1 again, as version 3" in sheet.content.decode()
    assert sheet.context["changes"]["added"] == ["rest"]
    assert client.get(url(one, "publish"), {"version": "9"}).status_code == 404
    assert client.get(url(one, "publish"), {"version": "²"}).status_code == 404
    client.post(url(one, "publish"), {"version": "1"})
    one.refresh_from_db()
    assert (one.version.number, draft(one)["steps"]) == (3, STEPS)
    client.post(url(one, "act"), {"act": "restore", "version": "2", "revision": one.revision})
    assert len(draft(one)["steps"]) == 3
    client.post(url(one, "act"), {"act": "restore", "draft": "1", "revision": one.revision})
    assert draft(one)["steps"] == STEPS
    assert client.post(url(one, "act"), {"act": "restore", "draft": "1", "revision": "1"}).status_code == 409
    for wrong in ("99", "x", "²"):
        data = {"act": "restore", "draft": wrong, "revision": one.revision}
        assert client.post(url(one, "act"), data).status_code == 404


def test_drafts_are_listed_page_by_page(client, admin, now):
    one = journey(now, steps=STEPS)
    for number in range(60):
        publishing.save_draft(journey=one, definition=draft(one), by=admin, now=now, message=f"Edit {number}.")
    page = client.get(url(one, "versions"))
    assert (len(page.context["drafts"]), page.context["older"]) == (50, 12)
    older = client.get(url(one, "versions"), {"before": "12"})
    assert (len(older.context["drafts"]), older.context["older"]) == (11, None)
    assert client.get(url(one, "versions"), {"before": "²"}).status_code == 200


def test_a_journey_is_copied_and_closed(client, admin, now):
    one = journey(now, name="Trial", steps=STEPS)
    inside(one, now)
    response = client.post(url(one, "act"), {"act": "clone"})
    copy = Journey.objects.get(key="j-copy")
    assert (response.url, copy.state) == (url(copy), "draft")
    client.post(url(one, "act"), {"act": "archive", "people": "finish"})
    one.refresh_from_db()
    assert one.state == "closing"
    assert "once everybody inside has finished" in client.get(url(one)).content.decode()
    client.post(url(one, "act"), {"act": "archive"})
    one.refresh_from_db()
    assert one.state == "archived"


def test_only_who_may_publish_rolls_back_and_only_who_may_add_copies(client, now):
    one = journey(now, steps=STEPS)
    user = User.objects.create_user("drawer", is_staff=True)
    rights = ["view_onboardingsequence", "change_onboardingsequence"]
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    client.force_login(user)
    page = client.get(url(one, "versions"))
    assert page.status_code == 200
    assert client.post(url(one, "publish"), {"version": "1"}).status_code == 403
    assert client.post(url(one, "act"), {"act": "clone"}).status_code == 403
    assert client.post(url(one, "act"), {"act": "restore", "version": "1", "revision": "1"}).status_code == 302
    user.user_permissions.clear()
    client.force_login(User.objects.get(pk=user.pk))
    assert client.get(url(one, "versions")).status_code == 403
