"""The addresses in mails that count: click and open. The token is the permission; nobody logs in here."""

import base64
from functools import lru_cache

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.utils import timezone

from messaging import gathering, machines, tokens
from messaging.gathering import Taken
from messaging.links import location
from messaging.markup import MarkupError, check_address
from messaging.models import Hit, Link
from messaging.public import agent_of, ids, private

_PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


@lru_cache(maxsize=10_000)
def _location(database: str, link: int) -> str:
    """Where a link leads: links never change, so they are remembered. Raises what must not be remembered."""
    url = Link.objects.values_list("url", flat=True).get(pk=link)
    check_address(url)
    return location(url)


def _take(request: HttpRequest, message: int, link: int | None) -> None:
    network = machines.network_of(request.META.get("REMOTE_ADDR") or "")
    gathering.take(Taken(message, link, timezone.now(), str(request.method), agent_of(request), network))


def click(request: HttpRequest, token: str) -> HttpResponse:
    """Leads to the URL that stood in the mail, and nowhere else, whatever else the request says."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    message, link = ids(tokens.CLICK, token)
    if link == Hit.HIDDEN_LINK:
        # No person sees this link; whoever follows it stays where they are.
        _take(request, message, link)
        return private(HttpResponse(status=204))
    try:
        where = _location(settings.DATABASES["default"]["NAME"], link)
    except (Link.DoesNotExist, MarkupError):
        raise Http404 from None
    _take(request, message, link)
    response = HttpResponse(status=302)
    response["Location"] = where
    return private(response)


def opened(request: HttpRequest, token: str) -> HttpResponse:
    """One transparent pixel."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    (message,) = ids(tokens.OPEN, token)
    _take(request, message, None)
    response = private(HttpResponse(_PIXEL, content_type="image/gif"))
    # Mail programs that show mails as pages of their own must be able to show it.
    response["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response
