"""Distinct personal mails of some 12 kB with tracked links: claimed, written, handed over and marked by one process.

The limit hands over prebuilt mails of the same bytes over as many connections to the same sink, and does nothing else.
"""

import email
import email.policy
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from tempfile import TemporaryDirectory

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection

from journey_crm.benches import Result, Stopwatch, run_sql, slices
from journey_crm.benches.sink import rate_of_source, send_bare, sink
from messaging.channels import Outgoing
from messaging.delivery import deliver
from messaging.models import Brand, Message, Template, Topic

ROWS = 20_000
CONNECTIONS = 8
# So many mails are built before and sent again and again by the limit; so many go by way of Django's own mail.
PREBUILT, BY_DJANGO = 1_000, 1_000
WARM = 50
_TO = re.compile(rb"^To: (\S+)\r$", re.MULTILINE)


def run(rows: int, say: Callable[[str], object]) -> Result:
    now = datetime.now(UTC)
    built = min(rows, PREBUILT)
    make_people(rows + WARM + built, now)
    mails = prebuilt(built, now)
    size = sum(len(one.raw) for one in mails) // len(mails)
    with sink() as (port, sink_name), mail_to(f"smtp://127.0.0.1:{port}?connections={CONNECTIONS}"):
        deliver(now=now, limit=WARM)  # opens the connections
        say(f"{rows:,} mails of {size:,} bytes to {sink_name} over {CONNECTIONS} connections, by turns with the limit")
        ours, limit, by_django, sent = Stopwatch(), Stopwatch(), Stopwatch(), 0
        letters = [_letter(one) for one in mails[: min(rows, BY_DJANGO)]]
        for part in slices(rows):
            with ours:
                sent += deliver(now=now, limit=len(part))
            again = [mails[number % len(mails)] for number in part]
            with limit:
                send_bare(port, again, CONNECTIONS)
        if sent != rows or Message.objects.sent().count() != rows + WARM + built:
            raise RuntimeError(f"Of {rows} mails {sent} left.")
        say("the same by EmailMultiAlternatives over one kept connection")
        with by_django:
            _send_by_django(port, letters)
        source = rate_of_source(port, CONNECTIONS, rows, size)
    django_rate = len(letters) / by_django.seconds
    return Result(
        "deliver", "mails/s", rows, sent / ours.seconds, rows / limit.seconds, 0.35,
        "a bare pipelined client, prebuilt mails of the same bytes",
        {
            "mail": f"{size:,} bytes",
            "sink": sink_name,
            "smtp-source to the same sink": f"{source:,.0f} mails/s" if source else "not installed",
            "EmailMultiAlternatives, one kept connection": f"{django_rate:,.0f} mails/s",
            "times EmailMultiAlternatives": f"{sent / ours.seconds / django_rate:.1f} (goal 10)",
        },
    )  # fmt: skip


@contextmanager
def mail_to(url: str) -> Iterator[None]:
    """Mails go there meanwhile."""
    before, settings.EMAIL_URL = settings.EMAIL_URL, url
    try:
        yield
    finally:
        settings.EMAIL_URL = before


def brand() -> None:
    """In whose voice the mails are."""
    Brand.objects.update_or_create(
        pk=1,
        defaults={
            "name": "Bench",
            "sender": "Bench <hello@bench.example>",
            "postal_address": "1 Main St, 602 00 Brno",
            "website": "https://bench.example",
        },
    )


def make_people(number: int, now: datetime) -> None:
    """So many people, and for each a message that has passed the gates."""
    brand()
    topic, _is_new = Topic.objects.get_or_create(key="bench-mail", defaults={"name": "Bench", "is_opt_in": False})
    template, _is_new = Template.objects.get_or_create(
        key="bench-mail",
        defaults={"topic": topic, "subject": SUBJECT, "preheader": "What is new, and what to try first", "body": BODY},
    )
    run_sql(
        "INSERT INTO contacts_contact (email, first_name, last_name, job_title, stage, created_at, updated_at)"
        " SELECT 'reader' || n || '@example.com', 'Anna' || n, 'Nováková', 'buyer ' || n, 'known', %(now)s, %(now)s"
        " FROM generate_series(1, %(number)s) AS n",
        number=number,
        now=now,
    )
    run_sql(
        "INSERT INTO messaging_message (key, contact_id, template_id, message_class, state, created_at, due_at)"
        " SELECT 'bench:' || id, id, %(template)s, 'marketing', 'ready', %(now)s, %(now)s"
        " FROM contacts_contact WHERE email LIKE 'reader%%'",
        template=template.pk,
        now=now,
    )
    for table in ("contacts_contact", "messaging_message"):
        run_sql(f"ANALYZE {table}")


def prebuilt(number: int, now: datetime) -> list[Outgoing]:
    """So many of the mails that are ready, written by delivery itself into files."""
    with TemporaryDirectory() as folder, mail_to(f"maildir:{folder}"):
        deliver(now=now, limit=number)
        texts = [path.read_bytes() for path in sorted((Path(folder) / "new").iterdir())]
    return [
        Outgoing(number, "hello@bench.example", _TO.findall(raw)[0].decode(), raw) for number, raw in enumerate(texts)
    ]


def _letter(mail: Outgoing) -> tuple[str, str, str, str]:
    """Subject, text, HTML and address of a mail."""
    parsed = email.message_from_bytes(mail.raw, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    text, html = parsed.get_body(("plain",)), parsed.get_body(("html",))
    assert text is not None and html is not None
    return str(parsed["Subject"]), text.get_content(), html.get_content(), mail.recipient


def _send_by_django(port: int, letters: list[tuple[str, str, str, str]]) -> None:
    with get_connection("django.core.mail.backends.smtp.EmailBackend", host="127.0.0.1", port=port) as kept:
        for subject, text, html, address in letters:
            message = EmailMultiAlternatives(subject, text, "Bench <hello@bench.example>", [address], connection=kept)
            message.attach_alternative(html, "text/html")
            message.send()


SUBJECT = "{{ contact.first_name | default: 'Friend' }}, three things to try this week"
_PARAGRAPH = (
    "The new board shows every step of a project in one place, and who waits for whom. Nothing has to be set up: open"
    " any project and choose *Board* at the top. People tell us that their Monday meeting has become half as long."
    " Whoever prefers lists keeps them; both show the same work, and a change in one is seen in the other at once."
)
BODY = "\n\n".join(
    [
        "Dear {{ contact.first_name | default: 'friend' }},",
        *(
            f"## {title}\n\n{_PARAGRAPH}\n\n{_PARAGRAPH}\n\nFor a {{{{ contact.job_title | default: 'colleague' }}}} we"
            f" recommend [the guide to part {number}](https://bench.example/guides/part-{number}?from=mail)."
            for number, title in enumerate(
                ("A board for each project", "Fewer meetings", "Numbers that agree", "One inbox"), 1
            )
        ),
        "[Try it](https://bench.example/try) · [Ask us](https://bench.example/ask) · [All](https://bench.example/new)",
        "Yours, {{ brand.name }}",
    ]
)
