"""The addresses in mails that count: click and open. The token is the permission; nobody logs in here."""

import base64
from functools import lru_cache

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.utils import timezone

from messaging import machines, tokens
from messaging.links import location
from messaging.markup import MarkupError, check_address
from messaging.models import Hit, Link
from messaging.public import agent_of, ids, private

_PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


@lru_cache(maxsize=10_000)
def _url(database: str, link: int) -> str:
    """Where a link leads: links never change, so they are remembered."""
    return Link.objects.values_list("url", flat=True).get(pk=link)


def _take(request: HttpRequest, message: int, link: int | None) -> None:
    agent = agent_of(request)
    Hit.objects.create(
        message_id=message,
        link_id=link,
        hit_at=timezone.now(),
        user_agent=agent,
        machine_reason=machines.reason(str(request.method), agent, is_open=link is None),
    )


def click(request: HttpRequest, token: str) -> HttpResponse:
    """Leads to the URL that stood in the mail, and nowhere else, whatever else the request says."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    message, link = ids(tokens.CLICK, token)
    try:
        url = _url(str(settings.DATABASES["default"]["NAME"]), link)
        check_address(url)
    except (Link.DoesNotExist, MarkupError):
        raise Http404 from None
    _take(request, message, link)
    response = HttpResponse(status=302)
    response["Location"] = location(url)
    return private(response)


def opened(request: HttpRequest, token: str) -> HttpResponse:
    """One transparent pixel."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    (message,) = ids(tokens.OPEN, token)
    _take(request, message, None)
    return private(HttpResponse(_PIXEL, content_type="image/gif"))
