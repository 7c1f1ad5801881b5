"""The report of stages: how fast people go, and who stands behind each number."""

import csv
import io
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.dates import MONTHS
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts.csvfiles import neutral
from scoring.stages import because
from scoring.velocity import PARTS, READINGS, WHATS, Pace, Span, labels, people_of, period, say_days, sentence, velocity

PERIODS = {
    "30": gettext_lazy("Last 30 days"), "90": gettext_lazy("Last 90 days"), "365": gettext_lazy("Last 12 months"),
}  # fmt: skip
_READ = {"stages": gettext_lazy("Stages"), "phases": gettext_lazy("Phases")}
_PARTED = {"month": gettext_lazy("By month"), "source": gettext_lazy("By source")}
_SAYS = {
    "entered": gettext_lazy("%(stage)s: entered"),
    "went_up": gettext_lazy("%(stage)s: entered, and went on up since"),
    "left": gettext_lazy("%(stage)s: left"),
    "left_up": gettext_lazy("%(stage)s: left upwards"),
    "left_down": gettext_lazy("%(stage)s: left downwards"),
    "now": gettext_lazy("%(stage)s: here now"),
    "overdue": gettext_lazy("%(stage)s: here for too long"),
}
PAGE = 100
_MONTH = re.compile("([0-9]{4})-(0[1-9]|1[0-2])")
_COLUMNS = [
    "key", "part", "entered", "went_up", "conversion", "left_up", "left_down", "median", "p90", "people", "late",
]  # fmt: skip


def _asked(request: HttpRequest, now: datetime) -> tuple[Span, dict[str, str]]:
    """What the address asks; what it does not say, or says wrongly, is as usual."""
    told = request.GET
    asked = {
        "period": _one_of(told.get("period"), PERIODS, "90"),
        "as": _one_of(told.get("as"), READINGS, "stages"),
        "by": _one_of(told.get("by"), PARTS, "month"),
    }
    asked["stage"] = _one_of(
        told.get("stage"), labels(asked["as"]), "lead" if asked["as"] == "stages" else "consideration"
    )
    return period(int(asked["period"]), now, asked["as"], asked["by"]), asked


def _one_of(value: str | None, known: Any, usual: str) -> str:
    return value if value is not None and value in known else usual


def _may_look(request: HttpRequest) -> None:
    if not request.user.has_perms(["scoring.view_stagechange", "contacts.view_contact"]):
        raise PermissionDenied


def velocity_page(request: HttpRequest) -> HttpResponse:
    """The pace of each stage or phase in a period, and of one of them by month or source; `file=csv` for all of it."""
    _may_look(request)
    now = timezone.now()
    span, asked = _asked(request, now)
    paces = velocity(span, now)
    if request.GET.get("file") == "csv":
        return _as_csv(paces, asked)
    whole = [one for one in paces if one.part is None]
    parts = [one for one in paces if one.part is not None and one.key == asked["stage"]]
    longest = max([one.p90 or 0 for one in (*whole, *parts)], default=0)
    context = {
        **admin.site.each_context(request),
        "title": _("How long stages take"),
        "asked": asked,
        "sentence": sentence(whole, velocity(span.before(), now)),
        "rows": [_row(one, asked, longest) for one in whole],
        "parts": [_row(one, asked, longest) for one in reversed(parts)],
        "chosen": labels(asked["as"])[asked["stage"]],
        "choices": {
            "period": _links(asked, "period", PERIODS),
            "as": _links({**asked, "stage": ""}, "as", _READ),
            "by": _links(asked, "by", _PARTED),
        },
        "file": f"?{urlencode({**asked, 'file': 'csv'})}",
        "is_empty": not any(one.people or one.entered or one.left for one in whole),
        "late": sum(one.late for one in whole),
    }
    return TemplateResponse(request, "scoring/velocity.html", context)


def _links(asked: Mapping[str, str], name: str, known: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    return [(f"?{urlencode({**asked, name: key})}", str(label), asked[name] == key) for key, label in known.items()]


def _row(one: Pace, asked: Mapping[str, str], longest: float) -> dict[str, Any]:
    """One line of a table: its words, its numbers with the address of their people, and its bar."""
    about = {**asked, "stage": one.key} | ({} if one.part is None else {"part": one.part})
    people = reverse("admin:scoring_stagechange_people")
    return {
        "pace": one,
        "label": one.label if one.part is None else say_part(one.part, asked["by"]),
        "page": f"?{urlencode({**asked, 'stage': one.key})}#parts",
        "is_chosen": one.key == asked["stage"],
        "people": {what: f"{people}?{urlencode({**about, 'what': what})}" for what in WHATS},
        "median": say_days(one.median),
        "p90": say_days(one.p90),
        "bar": round(100 * (one.median or 0) / longest, 2) if longest else 0,
        "mark": round(100 * (one.p90 or 0) / longest, 2) if longest else 0,
    }


def say_part(part: str, by: str) -> str:
    """A month or a source as people read it."""
    if by == "source":
        return part or _("unknown")
    month = _MONTH.fullmatch(part)
    return f"{MONTHS[int(month[2])]} {month[1]}" if month else part


def _as_csv(paces: list[Pace], asked: Mapping[str, str]) -> HttpResponse:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)
    for one in paces:
        cells = [getattr(one, name) for name in _COLUMNS]
        writer.writerow(["" if cell is None else neutral(str(cell)) for cell in cells])
    answer = HttpResponse(file.getvalue(), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{asked["as"]}-{asked["period"]}.csv"'
    return answer


def people_page(request: HttpRequest) -> HttpResponse:
    """Who stands behind one number of the report."""
    _may_look(request)
    now = timezone.now()
    span, asked = _asked(request, now)
    what = _one_of(request.GET.get("what"), WHATS, "now")
    told = request.GET.get("page", "1")
    page = min(max(1, int(told)), 10_000) if told.isdecimal() and len(told) < 6 else 1
    part = request.GET.get("part")
    moves, count = people_of(
        span, key=asked["stage"], what=what, part=part, now=now, limit=PAGE, offset=(page - 1) * PAGE
    )
    about: dict[str, str | int] = {**asked, "what": what, **({} if part is None else {"part": part})}
    title = str(_SAYS[what]) % {"stage": labels(asked["as"])[asked["stage"]]}
    stages = labels("stages")
    context = {
        **admin.site.each_context(request),
        "title": title,
        "when": "" if what in ("now", "overdue") else str(PERIODS[asked["period"]]),
        "part": None if part is None else say_part(part, asked["by"]),
        "moves": [
            {
                "contact": one.contact, "at": one.at, "from": stages.get(one.from_stage),
                "to": stages.get(one.to_stage), "why": because(one.reason), "days": say_days(one.days),
            }
            for one in moves
        ],
        "count": count,
        "report": f"{reverse('admin:scoring_stagechange_velocity')}?{urlencode(asked)}",
        "newer": f"?{urlencode({**about, 'page': page - 1})}" if page > 1 else "",
        "older": f"?{urlencode({**about, 'page': page + 1})}" if page * PAGE < count else "",
        "is_of_moves": what not in ("now", "overdue"),
    }  # fmt: skip
    return TemplateResponse(request, "scoring/stage_people.html", context)
