"""What the editor offers to print in a text, and whether it may be missing."""

from typing import Any

from django.utils.translation import gettext as _

from contacts.models import Field


def groups() -> list[dict[str, Any]]:
    """Values by group, as `{"path", "label", "is_always"}`; what is not always there needs a fallback."""
    own = [
        ("contact.first_name", _("First name")),
        ("contact.last_name", _("Last name")),
        ("contact.salutation", _("Salutation")),
        ("contact.job_title", _("Job title")),
        ("contact.country", _("Country")),
        ("contact.email", _("E-mail")),
        ("contact.company", _("Company")),
    ]
    custom = [(f"contact.{field.key}", str(field)) for field in Field.objects.order_by("key") if _is_name(field.key)]
    return [
        {"name": str(name), "fields": [_one(path, label) for path, label in fields]}
        for name, fields in [
            (_("The person"), own),
            (_("Custom fields"), custom),
            (
                _("The brand"),
                [
                    ("brand.name", _("Name")),
                    ("brand.postal_address", _("Postal address")),
                    ("brand.website", _("Website")),
                ],
            ),
            (
                _("Links"),
                [("links.preferences", _("Preference page")), ("links.unsubscribe", _("Way out"))],
            ),
            (
                _("The journey"),
                [
                    ("offer.name", _("Offer")),
                    ("offer.price", _("Price of the offer")),
                    ("offer.currency", _("Currency of the offer")),
                ],
            ),
        ]
        if fields
    ]


_ALWAYS = {"contact.email", "brand.name", "brand.postal_address", "links.preferences", "links.unsubscribe"}


def _is_name(key: str) -> bool:
    """Whether Liquid reads the key as one name."""
    return key.replace("_", "").replace("-", "").isalnum()


def _one(path: str, label: str) -> dict[str, Any]:
    return {"path": path, "label": label, "is_always": path in _ALWAYS}
