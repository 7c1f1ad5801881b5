"""The doors by which others tell us what came back: a mail server's pipe, and the webhooks of e-mail providers.

Each door is shut until its secret is set, and what comes without it is refused before it is read.
"""

import base64
import binascii
import hmac

import structlog
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from messaging import providers
from messaging.public import private
from messaging.returning import keep

log = structlog.get_logger(__name__)

# Beyond this nobody bounces; a report quotes at most the mail that we sent.
MOST_BYTES = 10 * 1024 * 1024


def _refused(scheme: str) -> HttpResponse:
    response = private(HttpResponse(status=401))
    response["WWW-Authenticate"] = f'{scheme} realm="bounces"'
    return response


def _is_too_large(request: HttpRequest) -> bool:
    length = request.headers.get("content-length") or "0"
    return not length.isdecimal() or int(length) > MOST_BYTES


def _told(request: HttpRequest, scheme: str) -> bytes:
    """What stands in Authorization behind this scheme; nothing where there is none."""
    name, _, value = request.headers.get("Authorization", "").partition(" ")
    if name.lower() != scheme:
        return b""
    if scheme == "bearer":
        return value.strip().encode()
    try:
        return base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


@csrf_exempt
@require_http_methods(["POST"])
def bounces(request: HttpRequest) -> HttpResponse:
    """Takes one raw mail from a mail server's pipe; 202 once it is kept, whether it was kept before or not."""
    if not settings.BOUNCE_SECRET:
        raise Http404
    if not hmac.compare_digest(_told(request, "bearer"), settings.BOUNCE_SECRET.encode()):
        return _refused("Bearer")
    if _is_too_large(request):
        return private(HttpResponse(status=413))
    if not request.body.strip():
        return private(HttpResponse("Send the raw mail as the body.", status=400, content_type="text/plain"))
    keep([request.body], source="hook", now=timezone.now())
    return private(HttpResponse(status=202))


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def esp(request: HttpRequest, provider: str) -> HttpResponse:
    """Takes the events of an e-mail provider. What is of no message of ours is counted and dropped.

    HEAD and GET answer those who try the address before they use it.
    """
    if not settings.ESP_WEBHOOK_SECRET or provider not in providers.PROVIDERS:
        raise Http404
    if not hmac.compare_digest(_told(request, "basic"), settings.ESP_WEBHOOK_SECRET.encode()):
        return _refused("Basic")
    if request.method != "POST":
        return private(HttpResponse())
    if _is_too_large(request):
        return private(HttpResponse(status=413))
    try:
        told = providers.events(provider, request)
    except providers.NotSetUp as error:
        log.error("provider_not_set_up", provider=provider, error=str(error)[:200])
        raise Http404 from None
    except SuspiciousOperation:
        return _refused("Basic")
    except providers.NotUnderstood as error:
        log.warning("provider_not_understood", provider=provider, error=str(error))
        return private(HttpResponse(status=400))
    return private(JsonResponse(dict(providers.take(provider, told, now=timezone.now()))))
