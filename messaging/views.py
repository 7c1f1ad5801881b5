"""The addresses in mails that count: click and open. The token is the permission; nobody logs in here."""

import base64

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.utils import timezone

from messaging import gathering, machines, tokens
from messaging.gathering import Taken
from messaging.links import location
from messaging.markup import MarkupError, check_address
from messaging.models import Hit, Link
from messaging.public import address_of, ids, private

PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")

# Where links lead, by database and link: they never change, so this process remembers what it has asked for.
_locations: dict[tuple[str, int], str] = {}
_MOST = 20_000


def remembered(link: int) -> str | None:
    """Where a link leads, if this process knows it already."""
    return _locations.get((settings.DATABASES["default"]["NAME"], link))


def _location(link: int) -> str:
    """Where a link leads. Raises Http404 for one that is not kept, or leads where no mail may lead."""
    where = remembered(link)
    if where is None:
        url = Link.objects.filter(pk=link).values_list("url", flat=True).first()
        try:
            if not url:
                raise Http404
            check_address(url)
        except MarkupError:
            raise Http404 from None
        if len(_locations) >= _MOST:
            _locations.clear()
        where = _locations[settings.DATABASES["default"]["NAME"], link] = location(url)
    return where


def take(message: int, link: int | None, method: str, user_agent: str, address: str) -> None:
    """Keeps a click, or (without a link) an open; of the IP address only what `machines.network_of` leaves of it."""
    agent = user_agent[:500].replace("\0", "")
    gathering.take(Taken(message, link, timezone.now(), method, agent, machines.network_of(address)))


def _take(request: HttpRequest, message: int, link: int | None) -> None:
    take(message, link, str(request.method), request.headers.get("User-Agent", ""), address_of(request) or "")


def click(request: HttpRequest, token: str) -> HttpResponse:
    """Leads to the URL that stood in the mail, and nowhere else, whatever else the request says."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    message, link = ids(tokens.CLICK, token)
    if link == Hit.HIDDEN_LINK:
        # No person sees this link; whoever follows it stays where they are.
        response = HttpResponse(status=204)
    else:
        response = HttpResponse(status=302)
        response["Location"] = _location(link)
    _take(request, message, link)
    return private(response)


def opened(request: HttpRequest, token: str) -> HttpResponse:
    """One transparent pixel."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    (message,) = ids(tokens.OPEN, token)
    _take(request, message, None)
    response = private(HttpResponse(PIXEL, content_type="image/gif"))
    # Mail programs that show mails as pages of their own must be able to show it.
    response["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response
