"""Alerts: mails to the team about a person, by the same outbox as mails to people.

An alert goes to the person's owner, else to the brand's address for answers. Nothing it sets off may set it off again:
its envelope has no sender and it says that a program wrote it, so no machine answers it; and the same alert about the
same person is given once an hour at most.
"""

from datetime import datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP

from contacts.sql import Fragment
from messaging.headers import mailbox

APART = timedelta(hours=1)
_POLICY = SMTP.clone(cte_type="7bit", max_line_length=76)


def once_an_hour(now: datetime) -> Fragment:
    """A gate: why an alert must not leave because an earlier one said the same, or NULL."""
    return Fragment(
        "CASE WHEN m.channel = 'alert' AND EXISTS ("
        " SELECT FROM messaging_message earlier WHERE earlier.contact_id = m.contact_id"
        " AND earlier.template_id = m.template_id AND earlier.channel = 'alert' AND earlier.id < m.id"
        " AND earlier.state NOT IN ('skipped', 'failed', 'cancelled') AND earlier.created_at > %(alerts_since)s"
        ") THEN 'already_sent' END",
        {"alerts_since": now - APART},
    )


def write(*, sender: str, address: str, subject: str, text: str, message_id: str, date: str, html: str = "") -> bytes:
    """An alert as a mail. Raises ValueError for a sender that is none and a subject with a line break."""
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = mailbox(sender)[0]
    mail["To"] = address
    mail["Subject"] = subject
    mail["Date"] = date
    mail["Message-ID"] = f"<{message_id}>"
    # RFC 3834, and Exchange's own word for it: nobody's machine is to answer.
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail.set_content(text, cte="quoted-printable")
    if html:
        mail.add_alternative(html, subtype="html", cte="quoted-printable")
    return mail.as_bytes()
