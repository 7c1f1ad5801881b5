"""The look: every staff page at home under one shell, navigation by permission, nothing inline, small."""

import gzip
from html.parser import HTMLParser
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.admin import site
from django.contrib.auth.models import Permission, User
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from django.test import Client
from django.utils import timezone

import journey_crm.site
from contacts.models import Contact, StepCursor
from journey_crm import home
from tests.browser import Complaints, launch_arguments, log_in

pytestmark = pytest.mark.django_db


class Inline(HTMLParser):
    """Collects what a strict Content-Security-Policy would refuse."""

    def __init__(self, html: str):
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        names = dict(attrs)
        if tag == "style" or (tag == "script" and not names.get("src") and names.get("type") != "application/json"):
            self.found.append(f"<{tag}>")
        self.found += [f"<{tag} {name}>" for name in names if name == "style" or name.startswith("on")]


@pytest.fixture
def boss() -> User:
    return User.objects.create_superuser("boss", "boss@example.com", "long enough 1")


def person(name: str, *permissions: str, is_staff: bool = True) -> User:
    user = User.objects.create_user(name, f"{name}@example.com", "long enough 1", is_staff=is_staff)
    for permission in permissions:
        app, _, codename = permission.partition(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return User.objects.get(pk=user.pk)


def logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def links(user: User, path: str = "/admin/") -> dict[str, bool]:
    """The navigation's entries on that page: label → whether it is the current one."""
    request = logged_in(user).get(path).wsgi_request
    groups = site.navigation(request)
    return {link.label: link.is_current for group in groups for link in (*group.links, *group.more)}


def test_every_answer_carries_the_strict_policy(boss):
    client = logged_in(boss)
    for page in ("/admin/", "/admin/auth/user/", "/admin/login/", "/nowhere/", "/admin/nowhere/"):
        policy = client.get(page).headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy


def test_error_pages_are_dressed_and_need_no_request():
    for template in ("400.html", "403.html", "404.html", "403_csrf.html", "500.html"):
        html = render_to_string(template)
        assert "journey/journey.css" in html
        assert Inline(html).found == []


def test_staff_see_only_what_they_may_see():
    ann = person("ann", "auth.view_group")
    shown = links(ann)
    assert "User groups" in shown
    assert "Users" not in shown


def test_the_navigation_marks_the_current_list(boss):
    assert [label for label, is_current in links(boss, "/admin/auth/user/add/").items() if is_current] == ["Users"]


def test_a_registered_model_that_no_entry_names_is_found_under_more(boss, monkeypatch):
    monkeypatch.setattr(journey_crm.site, "NAVIGATION", (journey_crm.site.Section("Settings", (), True),))
    more = site.navigation(logged_in(boss).get("/admin/auth/user/").wsgi_request)[-1].more
    assert {"Users", "Groups"} <= {link.label for link in more}


def test_a_rep_who_is_not_staff_is_led_to_sales_and_may_log_out():
    person("rep", "leads.work_lead", is_staff=False)
    client = Client()
    answer = client.post("/admin/login/?next=/admin/", {"username": "rep", "password": "long enough 1"})
    assert answer.headers["Location"] == "/sales/"
    assert client.get("/admin/").headers["Location"].startswith("/admin/login/")
    assert client.post("/admin/logout/").status_code == 200
    assert "_auth_user_id" not in client.session


def test_an_outsider_with_an_account_cannot_enter_the_admin():
    person("outsider", is_staff=False)
    client = Client()
    client.post("/admin/login/?next=/admin/", {"username": "outsider", "password": "long enough 1"})
    assert client.get("/admin/").status_code == 302
    assert client.get("/admin/auth/user/").status_code == 302


def test_the_language_can_be_switched_from_the_menu(boss):
    client = logged_in(boss)
    client.post("/i18n/setlang/", {"language": "cs", "next": "/admin/"})
    assert 'lang="cs"' in client.get("/admin/").content.decode()


def test_a_failing_step_is_the_first_thing_on_the_home_page(boss):
    StepCursor.objects.update_or_create(
        step="enrol", defaults={"failed_at": timezone.now(), "error": "Traceback\nValueError: no such field"}
    )
    html = logged_in(boss).get("/admin/").content.decode()
    assert "“enrol” has been failing" in html
    assert "ValueError: no such field" in html
    assert html.index("Needs you") < html.index("Where people stand")


def test_the_home_page_tells_nothing_that_the_user_may_not_see():
    Contact.objects.create(email="anna@example.com")
    told = home.today(person("ann", "auth.view_group"), timezone.now())
    assert told == {"problems": [], "figures": [], "stages": [], "sends": None, "tasks": []}


def test_the_checklist_ticks_itself(boss):
    def done() -> int:
        return sum(task.is_done for task in home.first_tasks(boss))

    before = done()
    Contact.objects.create(email="anna@example.com")
    assert done() == before + 1


def test_the_home_page_asks_at_most_twelve_questions(boss, django_assert_max_num_queries):
    with django_assert_max_num_queries(12):
        home.today(boss, timezone.now())


def test_styles_and_script_stay_small():
    def size(*names: str) -> int:
        return sum(len(gzip.compress(Path(finders.find(name)).read_bytes())) for name in names)

    ours = ("journey/journey.css", "journey/admin.css")
    assert size(*ours) <= 16_000
    assert size(*ours, "admin/css/forms.css", "admin/css/widgets.css") <= 20_000
    assert size(*ours, "admin/css/changelists.css") <= 20_000
    assert size("journey/shell.js") <= 4_000
    assert size("journey/icons.svg") <= 4_000


# In the browser ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict:
    return launch_arguments()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible_fit_the_window_and_break_no_policy(browser, live_server, scheme):
    complaints = Complaints()
    context = browser.new_context(color_scheme=scheme, reduced_motion="reduce")
    complaints.watch(context)
    page = context.new_page()
    page.base_origin = live_server.url
    log_in(page, User.objects.create_superuser("boss", "boss@example.com", "long enough 1"))
    for path in (
        "/admin/",
        "/admin/auth/user/",
        "/admin/auth/user/add/",
        "/admin/auth/group/",
        "/admin/password_change/",
    ):
        page.goto(f"{live_server.url}{path}")
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is wider than {width}"
        assert complaints.found == []
        for width in (390, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]}).response
            wrong = [(rule["id"], node["html"]) for rule in found["violations"] for node in rule["nodes"]]
            assert wrong == [], f"{path} at {width}"
        complaints.found.clear()  # axe itself writes an inline style
    context.close()


@pytest.mark.django_db(transaction=True)
def test_ctrl_k_goes_to_a_page_and_the_drawer_opens_on_a_phone(browser, live_server):
    User.objects.create_superuser("boss", "boss@example.com", "long enough 1")
    page = browser.new_page()
    page.goto(f"{live_server.url}/admin/login/")
    page.fill("[name=username]", "boss")
    page.fill("[name=password]", "long enough 1")
    page.click("#login-form button")
    page.wait_for_url("**/admin/")
    page.keyboard.press("Control+k")
    page.keyboard.type("user gr")
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/auth/group/")
    page.set_viewport_size({"width": 390, "height": 800})
    assert not page.locator("#side").is_visible()
    page.click("[popovertarget=side]")
    assert page.locator("#side").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#side").is_visible()
    page.close()
