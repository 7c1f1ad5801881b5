"""Every page × everybody who may come, walked over the URL resolver: a route without an expectation fails.

The routes of the REST API have their own table in `tests/api/test_routes.py`.
"""

import re
from types import SimpleNamespace

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import get_resolver

from campaigns.models import Journey, JourneyVersion
from contacts.consent import record_consent
from contacts.merging import merge
from contacts.models import (
    ApiToken,
    Company,
    Contact,
    Erasure,
    Export,
    Import,
    RetentionRule,
    Segment,
    Touchpoint,
    Trait,
    Webhook,
)
from growth.models import Offer, Order
from journey_crm import as_code
from journey_crm.roles import ensure_roles
from leads.models import Absence, Lead, Task
from messaging import tokens
from messaging.models import (
    Brake,
    Brand,
    DomainLimit,
    Hit,
    Message,
    ReturnedMail,
    ReusableBlock,
    SendingPolicy,
    SignupForm,
    Suppression,
    Template,
    UtmRules,
)
from messaging.versions import freeze
from scoring.models import PredictionModel, StageChange
from tests.house.test_as_code import COMPANY
from tests.house.test_skin import Inline

pytestmark = pytest.mark.django_db

# What GET answers: administrator, marketer, sales rep, somebody with an account and no role, nobody.
PAGES = {
    "/": "302 302 302 302 302",
    "/health/": "503 503 503 503 503",  # the test has no workers, and the page says so to everybody
    "/i18n/setlang/": "302 302 302 302 302",
    "/js/track.js": "200 200 200 200 200",
    "/v1/identify": "405 405 405 405 405",
    "/v1/onsite": "405 405 405 405 405",
    "/v1/onsite/shown": "405 405 405 405 405",
    "/v1/onsite/dismissed": "405 405 405 405 405",
    "/v1/projects/{key}/settings": "404 404 404 404 404",  # for write keys only
    "/t/c/{token}": "404 404 404 404 404",  # the address is known, but this template has no link
    "/t/l/{token}": "204 204 204 204 204",  # the hidden link leads nowhere
    "/t/o/{token}.gif": "200 200 200 200 200",
    "/u/{token}/": "200 200 200 200 200",
    "/p/{token}/": "200 200 200 200 200",
    "/f/{key}/": "404 404 404 404 404",  # there is no form x; tests/messaging/test_signups.py looks at one
    "/hooks/bounces/": "405 405 405 405 405",  # for a mail server's pipe
    "/hooks/esp/{provider}/": "404 404 404 404 404",  # shut until its secret is set
    "/confirm/{token}/": "200 200 200 200 200",
    "/api/schema/": "200 200 200 200 200",
    "/api/docs/": "200 200 200 200 200",
    "/sales/": "200 200 200 403 302",
    "/sales/live/": "200 200 200 403 302",
    "/sales/tasks/": "200 200 200 403 302",
    "/sales/tasks/{pk}/done/": "405 405 405 405 302",
    "/sales/tasks/{pk}/reopen/": "405 405 405 405 302",
    "/sales/alerts/": "200 200 200 403 302",
    "/sales/{pk}/": "200 200 200 403 302",
    "/sales/{pk}/panes/": "200 200 200 403 302",
    "/sales/{pk}/claim/": "405 405 405 405 302",
    "/sales/{pk}/release/": "405 405 405 405 302",
    "/sales/{pk}/accept/": "405 405 405 405 302",
    "/sales/{pk}/assign/": "405 405 405 405 302",
    "/sales/{pk}/call/": "405 405 405 405 302",
    "/sales/{pk}/note/": "405 405 405 405 302",
    "/sales/{pk}/snooze/": "405 405 405 405 302",
    "/sales/{pk}/wake/": "405 405 405 405 302",
    "/sales/{pk}/task/": "405 405 405 405 302",
    "/sales/{pk}/hold/": "405 405 405 405 302",
    "/sales/{pk}/unhold/": "405 405 405 405 302",
    "/sales/{pk}/undo/": "405 405 405 405 302",
    "/sales/{pk}/reject/": "405 405 405 405 302",
    "/sales/{pk}/convert/": "405 405 405 405 302",
    "/admin/": "200 200 302 302 302",
    "/admin/login/": "302 302 302 200 200",
    "/admin/logout/": "405 405 405 405 405",
    "/admin/password_change/": "200 200 200 200 302",
    "/admin/password_change/done/": "200 200 200 200 302",
    "/admin/jsi18n/": "200 200 302 302 302",
    "/admin/autocomplete/": "403 403 302 302 302",  # without a field to complete
    "/admin/r/{content_type_id}/{object_id}/": "404 404 302 302 302",  # no page of ours outside for a row
    "/admin/{app_label}/": "200 200 302 302 302",
    "/admin/{url}": "404 404 302 302 302",
    "/admin/messaging/consistency/": "200 200 302 302 302",
    "/admin/messaging/consistency/look/": "405 405 302 302 302",
    "/admin/messaging/consistency/{pk}/mute/": "405 405 302 302 302",
    "/admin/messaging/consistency/{pk}/unmute/": "405 405 302 302 302",
    "/admin/insights/": "200 200 302 302 302",
    "/admin/closed-loop/": "200 200 302 302 302",
    "/admin/closed-loop.csv": "200 200 302 302 302",
}
# Pages of the admin's models: who of the staff gets in; everybody else is refused, without staff status led to log in.
ALL = "changelist add change delete history"
KEPT = "changelist add change history"
OWN = "merge person proof erase"
READ = "changelist change history"
JOURNEY = f"{KEPT} publish versions clicks"
MODELS = {
    "auth.group": (ALL, ""),
    "auth.user": (f"{ALL} password_change", ""),
    "contacts.contact": (f"{KEPT} {OWN}", f"{KEPT} {OWN}"),  # erased by its own action, never deleted
    "contacts.company": (f"{ALL} merge", f"{ALL} merge"),
    "contacts.merge": (READ, READ),
    "contacts.field": (ALL, ALL),
    "contacts.trait": (READ, READ),
    "contacts.segment": (ALL, ALL),
    "contacts.touchpoint": (READ, READ),
    "contacts.consentchange": (f"{READ} export", f"{READ} export"),
    "contacts.erasure": (f"{READ} document", f"{READ} document"),
    "contacts.retentionrule": (ALL, ALL),
    "contacts.apitoken": (ALL, ""),
    "contacts.webhook": (ALL, ""),
    "contacts.import": (f"{ALL} columns report sample undo", f"{ALL} columns report sample undo"),
    "contacts.export": (f"{READ} people", f"{READ} people"),
    "scoring.scoremodel": (f"{ALL} backtest", f"{ALL} backtest"),
    "scoring.predictionmodel": (READ, READ),
    "scoring.gradematrix": (ALL, ALL),
    "scoring.stagerule": (ALL, ALL),
    "scoring.stagechange": (f"{READ} velocity people",) * 2,  # “set” is asked for with a contact
    "messaging.brand": (READ, READ),
    "messaging.sendingpolicy": (READ, READ),
    "messaging.topic": (ALL, ALL),
    "messaging.template": (f"{ALL} preview preview_mail", f"{ALL} preview preview_mail"),
    "messaging.reusableblock": (ALL, ALL),
    "messaging.utmrules": (READ, READ),
    "messaging.signupform": (ALL, ALL),
    "messaging.message": (f"{READ} ledger mail why", f"{READ} ledger mail why"),
    "messaging.suppression": ("changelist add change history import export",) * 2,
    "messaging.returnedmail": (f"{READ} doubtful",) * 2,
    "messaging.brake": ("changelist history",) * 2,  # there is no more to one than stands in the list
    "messaging.hit": (READ, READ),  # its report is asked for with a template
    "messaging.domainlimit": (ALL, ALL),
    "growth.product": (ALL, ALL),
    "growth.order": (f"{READ} delete", f"{READ} delete"),
    "growth.offer": (ALL, ALL),
    "leads.team": (f"{ALL} test", f"{READ} test"),
    "leads.rep": (ALL, READ),
    "leads.absence": (ALL, READ),
    "leads.rejectreason": (ALL, READ),
    "leads.lead": (READ, READ),
    "leads.task": (READ, READ),
    "campaigns.nurturetrack": (JOURNEY, JOURNEY),
    "campaigns.onboardingsequence": (JOURNEY, JOURNEY),
    "campaigns.crosssellcampaign": (JOURNEY, JOURNEY),
    "campaigns.broadcast": (JOURNEY, JOURNEY),
    "campaigns.followup": (JOURNEY, JOURNEY),
    "campaigns.winback": (JOURNEY, JOURNEY),
}
# They take POST only.
ACTIONS = {
    "undo": {"contacts.merge"},
    "count": {"contacts.trait", "messaging.template"},
    "preview": {"contacts.segment"},
    "draw": None,
    "people": {"contacts.segment", "messaging.template"},
    "draw_mail": None,
    "try": None,
    "tries": None,
    "plan": {"campaigns.broadcast"},
    "whatif": {"scoring.scoremodel"},
    "step": None,
    "text": None,
    "act": None,
    "use": {"scoring.scoremodel"},
    "train": {"scoring.predictionmodel"},
    "choose": {"scoring.predictionmodel"},
}
# The mail itself, in a frame without rights: mail programs need styles inside.
MAILS = {"mail", "preview_mail"}


def routes(patterns=None, prefix="/"):
    """Each address but the REST API's, as a template, with its name."""
    for one in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + re.sub(r"^\^|/\?\$$|\$$|\\Z", "", str(one.pattern))
        if hasattr(one, "url_patterns"):
            yield from routes(one.url_patterns, path)
        elif not path.startswith("/api/v1/"):
            path = re.sub(r"\(\?P<name>[^)]*\)", "identify", path)
            path = re.sub(r"\(\?P<(\w+)>[^)]*\)|<(?:\w+:)?(\w+)>", lambda part: f"{{{part[1] or part[2]}}}", path)
            yield path, one.name or ""


@pytest.fixture
def people(db):
    """Everybody who may come, logged in."""
    ensure_roles()
    User.objects.create_superuser("lenka")
    for name, group in (("marek", "Marketer"), ("petr", "Sales rep"), ("ania", "Sales rep")):
        user = User.objects.create_user(name, is_staff=group == "Marketer")
        user.groups.add(Group.objects.get(name=group))
    User.objects.create_user("olga")
    clients = {}
    for person, name in {"boss": "lenka", "marketer": "marek", "rep": "petr", "outsider": "olga", "nobody": ""}.items():
        clients[person] = Client()
        if name:
            clients[person].force_login(User.objects.get(username=name))
    return clients


@pytest.fixture
def world(people, now):
    """The demo company's definitions, and a row of everything else that has a page; the values for addresses."""
    boss = User.objects.get(username="lenka")
    as_code.apply([as_code.read(COMPANY.read_text(encoding="utf-8"))], is_publish=True, now=now)
    jana = Contact.objects.create(email="jana@example.com", company=Company.objects.create(name="Acme"))
    Segment.objects.get_or_create(key="by-hand", defaults={"name": "By hand"})
    Touchpoint.objects.create(
        contact=jana, kind="page.viewed", channel="web", source="web", occurred_at=now, received_at=now
    )
    merge(survivor=jana, loser=Contact.objects.create(first_name="Jana"), reason="same phone", now=now)
    ApiToken.objects.create(user=boss, prefix="jt_abc", digest="x", scopes=["read"])
    Import.objects.create(name="people.csv", state="finished")
    Export.objects.create(made_by=boss, door="admin", format="csv", made_at=now)
    Trait.objects.create(key="visits", people=1, types={"number": 1}, samples=[3], counted_at=now)
    Webhook.objects.create(name="CRM", url="https://crm.example/hook", secret="whsec_x")
    PredictionModel.objects.create(version=1, state="live", made_at=now)
    StageChange.objects.create(contact=jana, from_stage="lead", to_stage="qualified", reason="score", changed_at=now)
    Order.objects.create(number="1", contact=jana, total=10, placed_at=now)
    Offer.objects.get_or_create(key="spring")
    record_consent(contact=jana, topic="newsletter", channel="email", state="granted", source="form", now=now)
    Erasure.objects.create(contact_number=9, erased_at=now)
    RetentionRule.objects.create(key="pages", kind="page.*", days=400)
    SignupForm.objects.create(key="footer")
    Suppression.objects.create(address="gone@example.com", reason="bounce")
    ReturnedMail.objects.create(digest=b"x", source="hook", received_at=now, raw=b"Hi", state="dead", reason="x")
    Brake.objects.create(pulled_at=now, released_at=now)
    SendingPolicy.objects.get_or_create(pk=1)
    UtmRules.objects.get_or_create(pk=1)
    ReusableBlock.objects.create(key="signature", body="[]")
    DomainLimit.objects.create(name="Gmail", domains=["gmail.com"])
    for kind in ("broadcast", "follow_up", "win_back"):
        one = Journey.objects.create(key=kind, kind=kind)
        one.version = JourneyVersion.objects.create(journey=one, number=1, definition={}, published_at=now)
        one.save()
    Absence.objects.create(user=boss, first_day=now.date(), last_day=now.date(), reason="Holiday")
    lead = Lead.objects.create(contact=jana, created_at=now, headline="Asked for a price")
    Task.objects.create(contact=jana, created_at=now, title="Call them")
    template = Template.objects.order_by("pk").first()
    message = Message.objects.create(
        key="a",
        contact=jana,
        template=template,
        version=freeze(template, Brand.objects.get(), now),
        message_class=template.message_class,
        created_at=now,
        due_at=now,
        sent_at=now,
        finished_at=now,
        state="sent",
        address=jana.email,
        language="en",
    )
    Hit.objects.create(message_id=message.pk, hit_at=now, template_id=template.pk)
    signer = tokens.current()
    return {
        "key": "x",
        "provider": "postmark",
        "pk": lead.pk,
        "app_label": "contacts",
        "url": "nowhere",
        "content_type_id": 1,
        "object_id": 1,
        "/t/c/": signer.token(tokens.CLICK, message.pk, 10**9),
        "/t/l/": signer.token(tokens.CLICK, message.pk, 0),
        "/t/o/": signer.token(tokens.OPEN, message.pk),
        "/u/": signer.token(tokens.PERSON, message.pk, jana.pk),
        "/confirm/": signer.token(tokens.CONFIRM, 1),
        "/p/": signer.token(tokens.PERSON, message.pk, jana.pk),
    }


def test_every_page_is_for_whom_it_is_and_nobody_else(world, people):
    found = {}
    for path, _name in routes():
        if model_page(path):
            continue
        if path in found:
            continue
        token = next((token for start, token in world.items() if path.startswith(start) and start[0] == "/"), "")
        address = path.format(**{key: value for key, value in world.items() if key[0] != "/"}, token=token)
        answers = [client.get(address) for client in people.values()]
        found[path] = " ".join(str(answer.status_code) for answer in answers)
        for answer in answers:
            if answer.status_code == 200 and answer["Content-Type"].startswith("text/html"):
                assert Inline(answer.content.decode()).found == [], path
    assert found == PAGES


def model_page(path):
    """The model's label if it is one of the pages of a model in the admin."""
    parts = re.match(r"/admin/(\w+)/(\w+)/", path)
    # Two that are of no model.
    is_ours = parts and parts[1] != "password_change" and parts[2] != "consistency"
    return f"{parts[1]}.{parts[2]}" if is_ours else ""


def test_every_page_of_every_model_in_the_admin_is_for_whom_it_is_and_nobody_else(world, people):
    admins = {model._meta.label_lower: admin for model, admin in site._registry.items()}
    boss = SimpleNamespace(user=User.objects.get(username="lenka"), GET={})
    rows = {label: admin.get_queryset(boss).first() for label, admin in admins.items()}
    assert [label for label, row in rows.items() if row is None] == [], "a model without a row in this test's world"
    found = {label: {"boss": [], "marketer": []} for label in admins}
    wrong = []
    for path, name in routes():
        label = model_page(path)
        if not label or not name:  # without a name: the old addresses that lead to the change page
            continue
        page = name.removeprefix(label.replace(".", "_") + "_")
        address = re.sub(r"\{\w+\}", str(rows[label].pk), path)
        is_action = page in ACTIONS and label in (ACTIONS[page] or admins)
        for person, client in people.items():
            if person == "outsider":
                continue
            answer = client.get(address)
            to = answer.headers.get("Location", "")
            if person in ("rep", "nobody"):
                if not to.startswith("/admin/login/"):
                    wrong.append((address, person, answer.status_code, to))
            elif is_action:
                if answer.status_code != 405:
                    wrong.append((address, person, answer.status_code, to))
            elif answer.status_code == 200 or to.endswith("/change/"):  # of what there is one, the list leads to it
                found[label][person].append(page)
                is_ours = answer.headers["Content-Type"].startswith("text/html") and page not in MAILS
                inline = Inline(answer.content.decode()).found if is_ours else []
                if inline:
                    wrong.append((address, inline))
            elif answer.status_code not in (403, 404) and to != "/admin/":
                wrong.append((address, person, answer.status_code, to))
    assert wrong == []
    got = {label: tuple(" ".join(sorted(pages)) for pages in who.values()) for label, who in found.items()}
    assert got == {
        label: tuple(" ".join(sorted(pages.split())) for pages in expected) for label, expected in MODELS.items()
    }
