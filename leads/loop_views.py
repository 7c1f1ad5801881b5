"""The closed loop as a page, and as a file for a spreadsheet."""

import csv
import io
from decimal import Decimal
from typing import Any

from django.contrib.admin.views.decorators import staff_member_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from contacts.csvfiles import neutral
from leads.loop import PERIODS, SHOWN, Loop, loop, sentence, span_of
from leads.models import Team


def _asked(request: HttpRequest) -> tuple[Loop, int, Team | None, list[Team]]:
    """The report that a request asks for; an unknown period or team is the usual one."""
    if not request.user.has_perm("leads.view_lead"):
        raise PermissionDenied
    days = next((days for days in PERIODS if str(days) == request.GET.get("period")), 90)
    teams = list(Team.objects.all())
    team = next((team for team in teams if team.key == request.GET.get("team")), None)
    now = timezone.now()
    return loop(span_of(days, team, now), now), days, team, teams


@require_safe
@staff_member_required
def report(request: HttpRequest) -> HttpResponse:
    """What sales made of the leads of a period."""
    found, days, team, teams = _asked(request)
    context = {
        "title": _("Closed loop"),
        "loop": found,
        "sentence": sentence(found),
        "days": days,
        "periods": [(days, _("Last %(days)d days") % {"days": days}) for days in PERIODS],
        "team": team,
        "teams": teams,
        "origins": [
            (_("Won by source"), "sources", _("Source"), found.sources[:SHOWN], len(found.sources) - SHOWN),
            (_("Won by journey"), "tracks", _("Journey"), found.tracks[:SHOWN], len(found.tracks) - SHOWN),
        ],
        "speeds": [(_("Team"), found.teams), (_("Sales rep"), found.reps)],
    }
    return render(request, "leads/loop.html", context)


@require_safe
@staff_member_required
def report_file(request: HttpRequest) -> HttpResponse:
    """All tables of the report under each other as CSV, times in seconds, shares left to the spreadsheet.

    Each currency has a column of its own (`value_EUR`): what stands in one column may be added.
    """
    found, days, team, _teams = _asked(request)
    file = io.StringIO()
    writer = csv.writer(file)

    def put(*cells: Any) -> None:
        writer.writerow(["" if cell is None else neutral(str(cell)) for cell in cells])

    currencies = sorted(found.won_values)

    def amounts(values: dict[str, Decimal]) -> list[Decimal | None]:
        return [values.get(currency) for currency in currencies]

    columns = [f"value_{currency}" for currency in currencies]
    put("part", "name", "leads", "accepted", "won", *columns, "returned", "claim_median", "claim_p90", "answer_median",
        "answer_p90", "promised", "kept")  # fmt: skip
    for step in found.funnel:
        put("funnel", step.label, step.number.count, None, None, *amounts(step.values))
    for reason in found.reasons:
        put("reason", reason.name, reason.number.count, None, None, *amounts({}), reason.returned.count)
    for part, rows in (("source", found.sources), ("journey", found.tracks), ("points", found.bands)):
        for row in rows:
            put(part, row.label, row.leads.count, row.accepted.count, row.won.count, *amounts(row.values))
    for part, speeds in (("team", found.teams), ("rep", found.reps)):
        for one in speeds:
            put(part, one.label, None, None, None, *amounts({}), None, one.claim_median, one.claim_p90,
                one.answer_median, one.answer_p90, one.promised, one.kept)  # fmt: skip
    name = f"closed-loop-{days}-days{f'-{team.key}' if team else ''}.csv"
    response = HttpResponse(file.getvalue(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response
