"""What a sign-up form may ask for, and how it speaks."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts.models import Field
from messaging.models import SignupForm

COLUMN_LABELS: dict[str, Any] = {
    "first_name": gettext_lazy("First name"),
    "last_name": gettext_lazy("Last name"),
    "phone": gettext_lazy("Phone"),
    "country": gettext_lazy("Country"),
    "job_title": gettext_lazy("Job title"),
}
WORDS = ("title", "text", "consent", "button")


def words_in(form: SignupForm, language: str) -> dict[str, str]:
    """What the form says in a language, else in English, else in the first there is; ours where it says nothing."""
    said = form.wording if isinstance(form.wording, Mapping) else {}
    own = said.get(language) or said.get(language.split("-")[0]) or said.get("en") or next(iter(said.values()), {})
    ours = {
        "title": form.name or _("Hear from us"), "text": "", "button": _("Sign up"),
        "consent": _("I want to hear from you by e-mail about what is named here, and can end that at any time."),
    }  # fmt: skip
    return ours | {name: str(own[name]) for name in WORDS if own.get(name)}


def problems(*, fields: Any, wording: Any, origins: Any) -> dict[str, str]:
    """What is wrong with a definition, by its field."""
    found = {}
    if not isinstance(fields, list) or not all(isinstance(name, str) for name in fields):
        found["fields"] = _("This must be a list of names of fields.")
    else:
        known = set(COLUMN_LABELS) | set(Field.objects.filter(key__in=fields).values_list("key", flat=True))
        if unknown := [name for name in fields if name not in known]:
            found["fields"] = _("There is no field “%(name)s” that a form may ask for.") % {"name": unknown[0]}
    is_texts = isinstance(wording, Mapping) and all(
        isinstance(one, Mapping) and set(one) <= set(WORDS) and all(isinstance(text, str) for text in one.values())
        for one in wording.values()
    )
    if not is_texts:
        found["wording"] = _("Write it as {“en”: {“title”: …, “text”: …, “consent”: …, “button”: …}}.")
    if not isinstance(origins, list) or not all(isinstance(one, str) and _is_origin(one) for one in origins):
        found["origins"] = _("Write a list of sites such as https://www.acme.example, without a path.")
    return found


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and text == f"{parts.scheme}://{parts.netloc}"
    except ValueError:
        return False
