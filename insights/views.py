"""Screens of what people really do."""

from datetime import timedelta

from django.contrib.admin.views.decorators import staff_member_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from insights.funnel import funnel

PERIODS = {"30": _("Last 30 days"), "90": _("Last 90 days"), "365": _("Last 12 months")}


@require_safe
@staff_member_required
def index(request: HttpRequest) -> HttpResponse:
    """The stage funnel of a period; an unknown period is the default one."""
    if not request.user.has_perm("contacts.view_contact"):
        raise PermissionDenied
    period = request.GET.get("period", "90")
    if period not in PERIODS:
        period = "90"
    now = timezone.now()
    rungs = funnel(now - timedelta(days=int(period)), now)
    return render(
        request,
        "insights/index.html",
        {"title": _("Insights"), "rungs": rungs, "period": period, "periods": PERIODS, "is_empty": not rungs[0].people},
    )
