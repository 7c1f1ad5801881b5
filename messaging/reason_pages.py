"""Two pages about messages that did not leave: the ledger of all reasons, and why or why not of one person."""

from datetime import date, timedelta
from typing import Any

from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _

from contacts.models import Contact
from messaging.explaining import explain_message
from messaging.ledger import BY, SPANS, ledger
from messaging.models import Message, Template


def ledger_page(model_admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """How much of what was intended left, and why the rest did not: `?by=`, `?days=` and the last day, `?until=`."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    by = request.GET.get("by", "")
    days = next((span for span in SPANS if str(span) == request.GET.get("days")), 7)
    today = timezone.localdate()
    problem = ""
    try:
        until = date.fromisoformat(request.GET.get("until") or today.isoformat())
        until = min(max(until, date(2000, 1, 1)), today)
    except ValueError:
        until, problem = today, _("This is no day; write it like %(day)s.") % {"day": today.isoformat()}
    by = by if by in BY else "day"
    return render(
        request,
        "messaging/ledger.html",
        {
            **model_admin.admin_site.each_context(request),
            "title": _("What became of messages"),
            "opts": model_admin.opts,
            "ledger": ledger(by=by, days=days, until=until),
            "by": by,
            "ways": BY.items(),
            "days": days,
            "spans": SPANS,
            "until": until,
            "today": today,
            "earlier": until - timedelta(days=days),
            "later": min(until + timedelta(days=days), today) if until < today else None,
            "problem": problem,
            "is_new": not Message.objects.exists(),
        },
    )


def why_page(model_admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Why somebody got a message, or did not, or would not: `?contact=` (address or number) and `?message=` (a key)."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    said, key = request.GET.get("contact", "").strip(), request.GET.get("message", "").strip()
    contact, why, problems = None, None, {}
    if said:
        contact = _contact(request, said)
        if contact is None:
            problems["contact"] = _("There is no such contact.")
    elif key:
        problems["contact"] = _("Say whom: an address or a number.")
    if contact is not None and not key:
        problems["message"] = _("Choose a message.")
    elif contact is not None:
        try:
            why = explain_message(contact=contact, key=key, now=timezone.now())
        except Template.DoesNotExist:
            problems["message"] = _("There is neither a template nor a message with this key.")
    return render(
        request,
        "messaging/why.html",
        {
            **model_admin.admin_site.each_context(request),
            "title": _("Why, or why not?"),
            "opts": model_admin.opts,
            "said": said,
            "key": key,
            "contact": contact,
            "why": why,
            "problems": problems,
            "templates": Template.objects.order_by("key").values_list("key", "name"),
        },
    )


def _contact(request: HttpRequest, said: str) -> Contact | None:
    people: Any = Contact.objects.visible_to(request.user).living()
    if said.isdecimal():
        return people.filter(pk=int(said)).first() if len(said) < 19 else None
    return people.filter(email=said.lower()).order_by("pk").first()
