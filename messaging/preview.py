"""A mail as it left, and a template as it would look."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from contacts.models import Contact
from messaging import liquid, markup, utm
from messaging.models import Brand, Message, Template
from messaging.skeleton import Addressee, Skeleton
from messaging.texts import Text
from messaging.versions import NoBrand, compiled, content_of, language_for, skeleton
from messaging.writing import Claimed


@dataclass(frozen=True)
class Rendered:
    """One mail for people's eyes. Its links are not the tracked ones: a look is no click and unsubscribes nobody."""

    subject: str
    html: str
    text: str
    language: str


class NotRendered(Exception):
    """There is nothing to show; the message says why, in a sentence."""


def _render(letter: Skeleton | Text, context: Mapping[str, Any], moment: str, language: str) -> Rendered:
    links = letter.letter.links
    to = Addressee(
        message=0,
        address="",
        message_id="",
        date="",
        links={
            "open": "data:,",
            "hidden": "#",
            "unsubscribe": "#unsubscribe",
            "preferences": "#preferences",
            "confirm": "#confirm",
        },  # fmt: skip
        tracked={f"l{number}": utm.of_journey(url, "") for number, url in enumerate(links)},
    )
    values = letter.values(context, to, moment)
    html, text = letter.bodies(values, {})
    return Rendered(letter.subject(values), html, text, language)


def rendered(message: Message) -> Rendered:
    """The mail as it left, from its frozen template and the values that it was filled with. Raises NotRendered."""
    if message.version is None or not message.language:
        raise NotRendered(_("This message has not been written yet."))
    try:
        letter = skeleton(message.version, message.language)
        moment = message.sent_at or message.claimed_at or message.due_at
        context = {**message.context, "contact": liquid.present(liquid.plain(message.context.get("contact", {})))}
        return _render(letter, context, moment.isoformat(), message.language)
    except (liquid.RenderError, markup.MarkupError, ValueError) as error:
        raise NotRendered(str(error)) from error


def sample(*, template: Template, contact: Contact | None, language: str, now: datetime) -> Rendered:
    """A template as it would look now: for this contact in their language, or for nobody in `language`.

    Raises NotRendered, for instance where a value of this contact is missing.
    """
    try:
        content, chosen, context = prepared(template=template, contact=contact, language=language)
        return _render(compiled(content, chosen), context, now.isoformat(), chosen)
    except (liquid.RenderError, markup.MarkupError, NoBrand, ValueError) as error:
        raise NotRendered(str(error)) from error


def prepared(
    *, template: Template, contact: Contact | None, language: str
) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """What a look at a template is made of: its content, the language, and the values of the contact or of nobody."""
    brand = Brand.objects.first() or Brand(name=_("Your brand"), sender="brand@example.com", postal_address="…")
    content = content_of(template, brand)
    chosen = language_for(content, language or (contact.language if contact else ""))
    person = _values(contact) if contact else {"email": "eva@example.com", "id": 0}
    return content, chosen, {"contact": person}


def _values(contact: Contact) -> dict[str, Any]:
    return Claimed(
        id=0,
        contact_id=contact.pk,
        template_id=0,
        version_id=None,
        message_class="",
        address=contact.email,
        attempts=0,
        journey_key="",
        context={},
        email=contact.email,
        first_name=contact.first_name,
        last_name=contact.last_name,
        salutation=contact.salutation,
        language=contact.language,
        country=contact.country,
        job_title=contact.job_title,
        attributes=contact.attributes,
        company=contact.company.name if contact.company else None,
    ).person()
