"""Finding one person by whatever somebody has at hand."""

from django.db.models import Q

from contacts.identity import normalise
from contacts.models import Contact, Identity


def _written(kind: str, text: str) -> str:
    try:
        return normalise(kind, text)
    except ValueError:
        return ""


def find_contact(text: str) -> Contact:
    """The living contact with this id, e-mail address, user id, anonymous id, phone or client's own handle.

    Who was merged into somebody leads to the survivor. Raises Contact.DoesNotExist with a sentence.
    """
    text = text.strip()
    contact = None
    if text.isdecimal() and len(text) < 19:
        contact = Contact.objects.filter(pk=int(text)).first()
    if contact is None:
        told = Q(value=text)
        if address := _written("email", text):
            told |= Q(kind="email", value=address)
        identity = Identity.objects.filter(told).select_related("contact").order_by("pk").first()
        contact = identity.contact if identity else None
    if contact is None and (number := _written("phone", text)):
        # A family may share one; whoever was seen last is meant.
        contact = Contact.objects.living().filter(phone=number).order_by("-last_seen_at", "pk").first()
    while contact is not None and contact.merged_into_id is not None:
        contact = Contact.objects.get(pk=contact.merged_into_id)
    if contact is None:
        raise Contact.DoesNotExist(f"There is no contact {text!r}.")
    return contact
