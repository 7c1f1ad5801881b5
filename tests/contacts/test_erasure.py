"""Erasure: nothing is left of a person anywhere, totals stay, the proof says so, and nobody comes back to marketing."""

import io
import json
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import connection, models
from django.utils import timezone

from contacts import tokens
from contacts.erasure import erase, erased_among, relations
from contacts.ingest import ingest
from contacts.models import (
    Consent,
    Contact,
    Erasure,
    IdempotencyKey,
    Identity,
    Import,
    ImportNote,
    Incoming,
    Merge,
    Receipt,
    Segment,
    StepCursor,
    Touchpoint,
    Webhook,
    WebhookDelivery,
    Wording,
)
from contacts.person_export import as_zip, everything_about, places
from contacts.stream import Step, put, run_step
from contacts.sweeping import sweep_others
from contacts.syncing import upsert
from growth.models import Order, OrderLine, Product
from journey_crm import invariants
from journey_crm.tick import tick
from leads.models import Lead, RejectReason
from messaging.channels import maildir
from messaging.models import Hit, Link, Message, Signup, Suppression, Template, Topic

pytestmark = pytest.mark.django_db

CANARY = "kanarek7f3a"
EMAIL, PHONE, USER = f"{CANARY}@x.example", "+420601987654", f"user-{CANARY}"


class Filler:
    """Makes a row of any model with the canary in every text, however deep."""

    # What the schema or the meaning of a column asks for.
    KNOWN = {
        "messaging.template": {"message_class": "transactional", "topic": None, "body_format": "markdown"},
        # Names of journeys, steps and workers are the house's own words.
        "messaging.message": {
            "state": "sent", "channel": "email", "journey_key": "j", "node_key": "n", "claimed_by": "", "reason": "",
            "language": "cs", "source": "journey:j",
        },
        "campaigns.journey": {"state": "draft", "version": None, "kind": "nurture", "pause_reason": None},
        "campaigns.enrolment": {"state": "open", "exit_reason": "", "ended_at": None},
        "leads.lead": {"state": "rejected", "snoozed_until": None, "unrouted_because": ""},
        "leads.activity": {"kind": "note", "outcome": ""},
        "leads.leadmove": {"undone_at": None},
        "leads.salesmail": {"day": None},
        "leads.task": {"state": "done"},
        "growth.offerpresentation": {"state": "presented"},
        "contacts.webhookdelivery": {"state": "waiting", "claimed_by": "", "lease_until": None, "finished_at": None},
        "contacts.webhook": {
            "is_active": True, "disabled_at": None, "disabled_reason": "", "previous_secret": "",
            "previous_until": None, "failures": 0, "failing_since": None, "retry_at": None,
        },
        "scoring.predictionmodel": {"state": "retired", "version": 1, "window": timedelta(days=90)},
        "scoring.contactprediction": {"value": 0.5},
        "scoring.stagechange": {"from_stage": "lead", "to_stage": "qualified"},
        "contacts.consent": {"topic": f"t-{CANARY}"},
        "messaging.topic": {"is_opt_in": True, "is_double_opt_in": False},
        "scoring.gradematrix": {"fit_from": [2, 1], "engagement_from": [2, 1]},
    }  # fmt: skip
    # Shared with everybody: definitions hold nothing about one person.
    SHARED = {
        "contacts.segment", "contacts.field", "contacts.webhook", "contacts.import", "messaging.template",
        "messaging.topic", "scoring.scoregroup", "scoring.gradematrix",
        "messaging.signupform", "messaging.templateversion", "campaigns.journey", "campaigns.journeyversion",
        "scoring.scoremodel", "scoring.scorerule", "scoring.predictionmodel",
        "growth.product", "leads.team", "leads.rejectreason",
        "leads.salesmail",  # a mail to a user; what it said is written when it leaves, and kept nowhere
        "auth.user", "contacts.company", "growth.offer",
        # What the engine writes: the names of steps and of ways out of them.
        "campaigns.visit", "campaigns.due", "campaigns.achievement", "campaigns.sendout", "campaigns.assignment",
        "campaigns.behind",
        "messaging.holdout",
    }  # fmt: skip

    def __init__(self, person, now):
        self.person, self.now, self.number = person, now, 0
        self.made: dict[str, models.Model] = {}

    def row(self, model):
        label = model._meta.label_lower
        if label not in self.made:
            canary = "shared" if label in self.SHARED else CANARY
            known = self.KNOWN.get(label, {})
            values = {}
            for field in model._meta.concrete_fields:
                if field.primary_key and not field.is_relation:
                    continue
                values[field.name] = known[field.name] if field.name in known else self.value(field, canary)
            self.made[label] = model._base_manager.create(**values)
        return self.made[label]

    def value(self, field, canary):
        self.number += 1
        if field.is_relation:
            if field.related_model is Contact:
                return self.person
            # Nobody need have done it; and a row that leads to one of its own kind cannot be the first.
            is_empty = field.null and field.related_model in (User, field.model)
            return None if is_empty else self.row(field.related_model)
        if field.choices:
            return field.flatchoices[0][0]
        if isinstance(field, models.GenericIPAddressField):
            return "192.0.2.1"
        if isinstance(field, models.JSONField):
            return {"deep": [{canary: canary}]}
        if isinstance(field, models.FileField):
            return ""
        if isinstance(field, models.SlugField):
            return f"{canary}-{self.number}"
        if isinstance(field, models.CharField):
            return canary[: field.max_length]
        if isinstance(field, models.TextField):
            return f"{canary} {self.number}"
        if isinstance(field, models.DateTimeField):
            return self.now
        if isinstance(field, models.DateField):
            return self.now.date()
        if isinstance(field, models.DurationField):
            return timedelta(days=1)
        if isinstance(field, models.BooleanField):
            return False
        if isinstance(field, models.BinaryField):
            return canary.encode()
        if hasattr(field, "base_field"):
            return []
        return 1


@pytest.fixture
def canary(now, data_dir, settings) -> Contact:
    """A person with a row in every table that leads to them, and whatever else the house could keep of them."""
    settings.EMAIL_URL = f"maildir:{data_dir}/mail"
    upsert(
        [{
            "email": EMAIL, "phone": PHONE, "user_id": USER, "first_name": CANARY, "last_name": "Novák",
            "attributes": {"trait": CANARY},
        }],
        source="t", now=now,
    )  # fmt: skip
    person = Contact.objects.get(email=EMAIL)
    Identity.objects.get_or_create(contact=person, kind="phone", value=PHONE)
    Contact.objects.filter(pk=person.pk).update(
        **{
            field.name: CANARY
            for field in Contact._meta.concrete_fields
            if isinstance(field, models.TextField) and not field.choices and field.name not in ("email", "phone")
        }
    )
    person.refresh_from_db()
    filler = Filler(person, now)
    for model in places():
        filler.row(model)
    other = Contact.objects.create(email="other@x.example")
    put(kind="page.viewed", source="web", now=now, anonymous_id="a", properties={"said": EMAIL})
    put(kind="page.viewed", source="web", now=now, contact_id=person.pk, traits={"x": CANARY})
    Receipt.objects.create(source="web", message_id=f"m-{EMAIL}", received_at=now)
    StepCursor.objects.create(step="broken", error=f"Key (email)=({EMAIL})")
    token, _secret = tokens.issue(user=User.objects.create_user("client"), scopes=["sync"], now=now)
    for number, body in enumerate((f'{{"email":"{EMAIL}"}}', f'{{"id":{person.pk},"first_name":"{CANARY}"}}')):
        IdempotencyKey.objects.create(
            token=token, key=str(number), request_digest="x", body=body.encode(), created_at=now
        )
    user = User.objects.create_user("marek")
    for row, name in ((person, CANARY), (filler.made["leads.lead"], f"{CANARY} Novák"), (other, f"like {EMAIL}")):
        LogEntry.objects.create(
            user=user, content_type=ContentType.objects.get_for_model(type(row)), object_id=str(row.pk),
            object_repr=name, action_flag=CHANGE, change_message=name,
        )  # fmt: skip
    Suppression.objects.create(address=EMAIL, reason="complained", detail=CANARY)
    Link.objects.create(digest=b"1", url=f"https://acme.example/?e={CANARY}%40x.example", created_at=now)
    Hit.objects.create(message_id=filler.made["messaging.message"].pk, hit_at=now, user_agent=CANARY)
    Signup.objects.create(address=EMAIL, source="form:x", traits={"n": CANARY}, asked_at=now, expires_at=now, topics=[])
    brought = Import(name=f"{EMAIL}.csv", state="finished")
    brought.file.save("people.csv", ContentFile(f"email,first_name\n{EMAIL},{CANARY}\n".encode("utf-16")), save=True)
    ImportNote.objects.create(batch=brought, line=1, is_refused=True, cells=[EMAIL, CANARY], reasons=[])
    mail = Path(data_dir) / "mail" / "new"
    mail.mkdir(parents=True)
    for name in (f"{filler.made['messaging.message'].pk:012d}.eml", f"{10**9:012d}.eml"):
        (mail / name).write_text(f"To: {EMAIL}" if name[0:9] != "001000000" else "To: other@x.example")
    return person


def found_in_tables() -> dict[str, str]:
    """The tables in which the canary still stands, as text or as bytes, each with a row."""
    found = {}
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in cursor.fetchall():
            cursor.execute(
                f'SELECT left(min(t::text), 600) FROM public."{table}" t WHERE t::text ILIKE ANY(%s)',
                [[f"%{CANARY}%", f"%{CANARY.encode().hex()}%", f"%{PHONE}%"]],
            )
            if row := cursor.fetchone()[0]:
                found[table] = row
    return found


def found_in_files(folder: Path) -> list[str]:
    needles = [CANARY.encode(way) for way in ("utf-8", "utf-16-le", "utf-16-be")]
    return [
        str(file) for file in folder.rglob("*")
        if file.is_file() and any(needle in file.read_bytes().lower() for needle in needles)
    ]  # fmt: skip


def test_the_canary_is_nowhere_after_the_erasure(canary, now, data_dir, django_capture_on_commit_callbacks):
    before = set(found_in_tables())
    for model in places():
        label = model._meta.label_lower
        texts = [one for one in model._meta.concrete_fields if isinstance(one, models.TextField | models.JSONField)]
        if [one for one in texts if not one.choices] and label not in Filler.SHARED:
            assert model._meta.db_table in before, f"{label}: the test put no canary there"
    assert {"contacts_receipt", "contacts_idempotencykey", "django_admin_log", "messaging_link"} <= before
    assert found_in_files(data_dir)
    with django_capture_on_commit_callbacks(execute=True):
        proof = erase(canary, by=User.objects.get(username="marek"), now=now)
    sweep_others(now)
    assert found_in_tables() == {}
    assert found_in_files(data_dir) == []
    assert CANARY not in json.dumps(proof.document(), default=str)
    assert proof.counts["messaging.message"] == {"removed": 0, "kept": 1}
    assert proof.counts["contacts.identity"]["removed"] >= 3
    assert (proof.erased_by.username, proof.handles, proof.key_id is not None) == ("marek", 3, True)
    assert erase(canary, by=None, now=now) is None
    assert {name: count for name, count in invariants.check(now).items() if count} == {}


def test_what_others_say_of_them_is_blanked_and_not_what_only_looks_alike(now):
    upsert(
        [{"email": EMAIL, "phone": PHONE, "user_id": USER}, {"email": "vic@x.example", "attributes": {
            "referred_by": EMAIL.upper(), "note": f"asked {PHONE}, or {EMAIL}.", "friend": USER,
            "alike": [f"jo{EMAIL}", f"{EMAIL}.au", f"{PHONE}1", f"{USER}-2"], "quoted": 'say "ahoj" \\ 5',
        }}],
        source="t", now=now,
    )  # fmt: skip
    ann, vic = Contact.objects.get(email=EMAIL), Contact.objects.get(email="vic@x.example")
    hook = Webhook.objects.create(name="CRM", url="https://crm.example/", secret="whsec_x")
    for said in (EMAIL, "somebody@x.example"):
        put(kind="friend.invited", source="web", now=now, contact_id=vic.pk, properties={"friend": [said], "n": 1})
    tick(now)
    assert hook.deliveries.filter(kind="friend.invited", payload__icontains=EMAIL).count() == 1
    proof = erase(ann, by=None, now=now)
    assert proof.document()["others_searched_at"] is None
    assert not WebhookDelivery.objects.filter(payload__icontains=EMAIL).exists(), "it waits to be sent"
    sweep_others(now)
    proof.refresh_from_db()
    assert (proof.document()["others_searched_at"], proof.sought) == (now, {})
    assert proof.counts["contacts.touchpoint (others)"] == {"removed": 1, "kept": 0}
    vic.refresh_from_db()
    assert vic.attributes == {
        "referred_by": "[erased]", "note": "asked [erased], or [erased].", "friend": "[erased]",
        "alike": [f"jo{EMAIL}", f"{EMAIL}.au", f"{PHONE}1", f"{USER}-2"], "quoted": 'say "ahoj" \\ 5',
    }  # fmt: skip
    invited = Touchpoint.objects.filter(kind="friend.invited").order_by("pk").values_list("properties", flat=True)
    assert list(invited) == [{"friend": ["[erased]"], "n": 1}, {"friend": ["somebody@x.example"], "n": 1}]
    assert sweep_others(now) == 0


def test_nothing_of_others_goes_with_them(canary, now):
    other = Contact.objects.get(email="other@x.example")
    Identity.objects.create(contact=other, kind="email", value=other.email)
    count = LogEntry.objects.count()
    erase(canary, by=None, now=now)
    other.refresh_from_db()
    assert (other.email, other.erased_at, other.identities.count()) == ("other@x.example", None, 1)
    assert LogEntry.objects.count() == count, "who did what stays"


def test_totals_stay_without_their_person(now, brand_and_template):
    upsert([{"email": EMAIL, "first_name": "Ann"}], source="t", now=now)
    ann = Contact.objects.get(email=EMAIL)
    order = Order.objects.create(number="2026-77", contact=ann, total=90, placed_at=now)
    OrderLine.objects.create(order=order, product=Product.objects.create(key="pro", name="Pro"), price=90)
    reason = RejectReason.objects.create(key="no", name="No")
    Lead.objects.create(
        contact=ann, state="rejected", reject_reason=reason, created_at=now, ended_at=now, note="Ann said"
    )
    Lead.objects.create(contact=ann, state="open", created_at=now, headline="Call Ann")
    for number, state in enumerate(["sent", "pending", "skipped"]):
        Message.objects.create(
            key=f"m{number}", contact=ann, template=brand_and_template, message_class="marketing", state=state,
            created_at=now, due_at=now, address=EMAIL, context={"contact": {"first_name": "Ann"}},
            **({"sent_at": now} if state == "sent" else {}), **({"reason": "capped"} if state == "skipped" else {}),
        )  # fmt: skip
    erase(ann, by=None, now=now)
    assert list(Order.objects.values_list("total", "number")) == [(90, f"erased-{order.pk}")]
    assert OrderLine.objects.count() == 1
    assert list(Lead.objects.values_list("state", "note", "headline")) == [("rejected", "", "")]
    assert sorted(Message.objects.values_list("state", "reason", "address")) == [
        ("cancelled", "erased", ""), ("sent", "", ""), ("skipped", "capped", ""),
    ]  # fmt: skip
    assert Message.objects.filter(context={}).count() == 3


@pytest.fixture
def brand_and_template():
    topic = Topic.objects.create(key="news", name="News", is_opt_in=False)
    return Template.objects.create(key="letter", topic=topic, subject="s", body="b")


def veto(**handle) -> str | None:
    [(kind, value)] = handle.items()
    person = Identity.objects.get(kind=kind, value=value).contact
    return Consent.objects.filter(contact=person, topic="").values_list("state", flat=True).first()


@pytest.fixture
def erased(now):
    upsert([{"email": EMAIL, "phone": PHONE, "user_id": USER}], source="t", now=now)
    person = Contact.objects.get(email=EMAIL)
    Identity.objects.get_or_create(contact=person, kind="phone", value=PHONE)
    erase(person, by=None, now=now)
    assert erased_among([EMAIL, "x@y.example"]) == {EMAIL}
    assert erased_among([PHONE], "phone") == {PHONE}
    return person


@pytest.mark.parametrize("handle", [{"email": EMAIL}, {"user_id": USER}])
def test_the_erased_do_not_come_back_by_sync(erased, handle, now):
    upsert([handle | {"first_name": "Ann"}], source="sync", now=now)
    assert veto(**handle) == "denied"
    upsert([handle | {"consents": [{"topic": "", "channel": "email", "state": "granted"}]}], source="sync", now=now)
    assert veto(**handle) == "denied"


def test_the_erased_do_not_come_back_into_somebody_who_is_there(erased, now):
    upsert([{"user_id": "another"}], source="sync", now=now)
    upsert([{"user_id": "another", "email": EMAIL}], source="sync", now=now + timedelta(seconds=1))
    assert veto(email=EMAIL) == "denied"


@pytest.mark.parametrize("handle", [{"email": EMAIL}, {"user_id": USER}])
def test_the_erased_do_not_come_back_by_identifying(erased, handle, now):
    put(kind="contact.identified", source="web", now=now, anonymous_id="a1", **handle)
    run_step(Step("ingest", ingest), now)
    assert veto(**handle) == "denied"


def test_the_erased_do_not_come_back_by_an_import(erased, now, tmp_path):
    file = tmp_path / "people.csv"
    file.write_text(f"email,first_name\n{EMAIL},Ann\nnew@x.example,Bob\n")
    call_command("import_contacts", str(file), stdout=io.StringIO(), stderr=io.StringIO())
    assert veto(email=EMAIL) == "denied"
    assert veto(email="new@x.example") is None


def test_no_merge_is_left_to_be_undone(now):
    from contacts.merging import merge

    upsert([{"email": EMAIL}, {"email": "bob@x.example"}], source="t", now=now)
    ann, bob = Contact.objects.get(email=EMAIL), Contact.objects.get(email="bob@x.example")
    merge(survivor=bob, loser=ann, reason="by hand", now=now)
    erase(bob, by=None, now=now)
    assert not Merge.objects.exists()
    assert Contact.objects.filter(erased_at=now, email="", first_name="").count() == 2


def test_an_import_that_would_bring_them_back_stops_the_erasure_and_is_named(now):
    upsert([{"email": EMAIL}], source="t", now=now)
    waiting = Import(name="people.csv", state="waiting")
    waiting.file.save("people.csv", ContentFile(f"email\n{EMAIL}\n".encode()), save=True)
    with pytest.raises(ValueError, match=f"Import {waiting.pk} holds this person"):
        erase(Contact.objects.get(email=EMAIL), by=None, now=now)
    assert Contact.objects.get(email=EMAIL).erased_at is None


def test_words_that_others_were_shown_stay(now):
    from contacts.consent import record_consent

    people = [Contact.objects.create() for _ in range(2)]
    for person, words in zip(people, ("All of us", "All of us"), strict=True):
        record_consent(contact=person, topic="n", channel="email", state="granted", source="f", wording=words, now=now)
    record_consent(
        contact=people[0], topic="m", channel="email", state="granted", source="f", wording="Ann alone", now=now
    )
    erase(people[0], by=None, now=now)
    assert list(Wording.objects.values_list("words", flat=True)) == ["All of us"]


def test_the_files_of_a_mailbox_go_by_the_number_of_their_message(tmp_path):
    for name in ("new/000000000007.eml", "cur/000000000007.eml:2,S", "new/000000000008.eml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert maildir.forget(str(tmp_path), [7]) == 2
    assert [file.name for file in tmp_path.rglob("*.eml*") if file.is_file()] == ["000000000008.eml"]


# What is held about a person -----------------------------------------------------------------------------------------


def test_no_model_that_leads_to_a_person_is_forgotten_in_what_they_are_told(canary, now):
    told = everything_about(canary, now)
    for model, _name in relations():
        rows = told[model._meta.label_lower]
        assert rows, f"{model._meta.label_lower} has a row and is not told"
    assert told["growth.orderline"], "what hangs on an order is the person's too"
    assert told["campaigns.visit"]
    assert "other@x.example" not in json.dumps(told, default=str)
    Message.objects.all().delete()


def test_every_model_of_ours_that_leads_to_a_contact_is_walked():
    """Counted apart from the walk: by every foreign key of every model, over any number of steps."""
    leading = {Contact}
    while True:
        more = {
            model
            for model in apps.get_models()
            if not model._meta.proxy and model._meta.managed and model not in leading
            and any((f.many_to_one or f.one_to_one) and f.related_model in leading for f in model._meta.concrete_fields)
        }  # fmt: skip
        if not more:
            break
        leading |= more
    assert set(places()) == leading - {Contact}


def test_the_archive_can_be_read_by_people_and_by_programs(canary, now):
    with zipfile.ZipFile(io.BytesIO(as_zip(everything_about(canary, now)))) as archive:
        told = json.loads(archive.read("person.json"))
        page = archive.read("person.html").decode()
    assert told["contact"]["email"] == EMAIL
    assert EMAIL in page
    assert "<script" not in page
    Message.objects.all().delete()


def test_what_a_person_typed_is_text_in_their_archive(now):
    upsert([{"email": EMAIL, "first_name": "<script>x</script>"}], source="t", now=now)
    page = zipfile.ZipFile(io.BytesIO(as_zip(everything_about(Contact.objects.get(), now)))).read("person.html")
    assert b"<script>" not in page


def test_rows_that_wait_for_the_next_tick_are_told_and_erased(now):
    upsert([{"email": EMAIL}], source="t", now=now)
    person = Contact.objects.get(email=EMAIL)
    put(kind="page.viewed", source="web", now=now, email=EMAIL, properties={"path": "/x"})
    told = everything_about(person, timezone.now())["contacts.incoming"]
    assert "page.viewed" in {row["kind"] for row in told}
    erase(person, by=None, now=now)
    assert not Incoming.objects.exists()
    assert not Touchpoint.objects.exists()
    assert Erasure.objects.get().counts["contacts.incoming"]["removed"] >= 1
    assert not Segment.objects.exists()
