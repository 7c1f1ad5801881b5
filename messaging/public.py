"""What the pages without a log-in share: private answers, the reader's language, and who is asking."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import translation
from django.utils.translation import get_language_info

from contacts.models import Contact
from messaging import tokens
from messaging.models import Brand

# What every answer says whose address holds a token: no cache keeps it and no other site learns the address.
PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}


def private(response: HttpResponse) -> HttpResponse:
    """The answer with what `PRIVATE` says."""
    for name, value in PRIVATE.items():
        response[name] = value
    return response


def ids(purpose: str, token: str) -> tuple[int, ...]:
    """What a token of ours says; 404 for anybody else's."""
    try:
        return tokens.read(purpose, token)
    except tokens.BadToken:
        raise Http404 from None


@contextmanager
def spoken(request: HttpRequest, person: Contact | None, *, chosen: str = "") -> Iterator[str]:
    """Speaks the person's language, unless they chose another one here; yields which."""
    language = chosen or (person.language.split("-")[0] if person else "")
    is_chosen_before = settings.LANGUAGE_COOKIE_NAME in request.COOKIES and not chosen
    if is_chosen_before or language not in dict(settings.LANGUAGES):
        language = translation.get_language() or settings.LANGUAGE_CODE
    with translation.override(language):
        yield language


def page(request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    """A page in the language that is spoken now."""
    return private(render(request, template, {"brand": Brand.objects.first(), **context}))


def languages() -> list[tuple[str, str]]:
    """Each language we speak with its own name for itself."""
    return [(code, get_language_info(code)["name_local"].capitalize()) for code, _name in settings.LANGUAGES]


def address_of(request: HttpRequest) -> str | None:
    """The IP address that asks, for the proof."""
    return request.META.get("REMOTE_ADDR") or None


def agent_of(request: HttpRequest) -> str:
    """The browser that asks, for the proof."""
    return request.headers.get("User-Agent", "")[:500].replace("\0", "")
