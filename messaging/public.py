"""What the pages without a log-in share: private answers, the reader's language, and who is asking."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

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
_COLOUR = re.compile(r"#[0-9a-fA-F]{3,8}")
_PICTURE = re.compile(r"https?://[A-Za-z0-9.-]+(:\d+)?/[^\s\"'<>;,]*")


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


def asked_to_speak(request: HttpRequest) -> str:
    """The language that the page's own switch asks for, "" for none; only this one page speaks it.

    The house's switch keeps it in a cookie; it asks for a proof of origin, which no page here may send.
    """
    asked = request.GET.get("speak", "")
    return asked if asked in dict(settings.LANGUAGES) else ""


@contextmanager
def spoken(request: HttpRequest, person: Contact | None, *, chosen: str = "") -> Iterator[str]:
    """Speaks the person's language, unless they chose another one here; yields which."""
    chosen = chosen or asked_to_speak(request)
    language = chosen or (person.language.split("-")[0] if person else "")
    is_chosen_before = settings.LANGUAGE_COOKIE_NAME in request.COOKIES and not chosen
    if is_chosen_before or language not in dict(settings.LANGUAGES):
        language = translation.get_language() or settings.LANGUAGE_CODE
    with translation.override(language):
        yield language


def page(request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    """A page in the language that is spoken now, in the brand's look."""
    brand = Brand.objects.first()
    look = _look(brand) if brand else {}
    response = render(
        request,
        template,
        {"brand": brand, **look, "languages": languages(), "speak": asked_to_speak(request), **context},
    )
    if look.get("logo"):
        parts = urlsplit(look["logo"])
        response._csp_update = {"img-src": [f"{parts.scheme}://{parts.netloc}"]}  # type: ignore[attr-defined]
    return private(response)


def _look(brand: Brand) -> dict[str, str]:
    """The brand's logo and colour, as far as they may stand in a page."""
    colour = str((brand.colours or {}).get("primary", ""))
    return {
        "logo": brand.logo_url if _PICTURE.fullmatch(brand.logo_url) else "",
        "colour": colour if _COLOUR.fullmatch(colour) else "",
    }


def languages() -> list[tuple[str, str]]:
    """Each language we speak with its own name for itself."""
    return [(code, get_language_info(code)["name_local"].capitalize()) for code, _name in settings.LANGUAGES]


def address_of(request: HttpRequest) -> str | None:
    """The IP address that asks, for the proof."""
    return request.META.get("REMOTE_ADDR") or None


def agent_of(request: HttpRequest) -> str:
    """The browser that asks, for the proof."""
    return request.headers.get("User-Agent", "")[:500].replace("\0", "")
