"""The page of a backtest: the curve, what each threshold would have meant, and the button that takes the best one."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from contacts.sql import in_time
from scoring import backtest
from scoring.backtest_form import LIMIT, Asked
from scoring.models import ScoreModel

# Where the curve stands in its picture, in its own units.
_LEFT, _TOP, _WIDTH, _HEIGHT = 34, 8, 280, 240


@dataclass(frozen=True)
class Mark:
    """A threshold in the picture."""

    x: str
    y: str
    step: backtest.Step


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    step: backtest.Step
    a_week: float
    precision: int
    recall: int
    is_today: bool
    is_proposed: bool


def drawing(found: backtest.Backtest) -> dict[str, Any]:
    """The curve as points of an SVG, from nobody (left, low) to everybody (right, high)."""

    def at(right: float, up: float) -> tuple[str, str]:
        # Texts: a reader's own decimal comma has no place in an attribute.
        return f"{_LEFT + _WIDTH * right:.1f}", f"{_TOP + _HEIGHT * (1 - up):.1f}"

    def place(step: backtest.Step) -> tuple[str, str]:
        return at(found.false_alarms(step), found.recall(step))

    points = [at(0, 0), *map(place, found.corners)]
    marks = {
        name: Mark(*place(step), step)
        for name, step in (("today", found.today), ("proposed", found.proposed)) if step
    }  # fmt: skip
    return {
        "points": " ".join(f"{x},{y}" for x, y in points),
        "ticks": [(share, *at(share / 100, share / 100)) for share in (0, 25, 50, 75, 100)],
        "left": _LEFT, "right": _LEFT + _WIDTH, "top": _TOP, "bottom": _TOP + _HEIGHT, **marks,
    }  # fmt: skip


def lines(found: backtest.Backtest) -> list[Line]:
    """The thresholds of each tenth of all people, today's and the proposed one, the highest first."""
    steps = {step.score: step for step in found.tenths.values()}
    steps |= {step.score: step for step in (found.today, found.proposed) if step}
    return [
        Line(
            step, found.a_week(step), round(100 * step.precision), round(100 * found.recall(step)),
            step == found.today, step == found.proposed,
        )
        for _score, step in sorted(steps.items(), reverse=True)
    ]  # fmt: skip


@require_safe
@permission_required("scoring.view_scoremodel", raise_exception=True)
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """What history says of a score."""
    score = get_object_or_404(ScoreModel, pk=pk)
    form = Asked(request.GET or {"by": backtest.DATES, "days": 90})
    found = None
    with in_time(LIMIT) as time:
        if form.is_valid():
            found = backtest.backtest(score, timezone.now(), **form.asked())
    step = found and found.proposed
    context = {
        **admin.site.each_context(request),
        "opts": ScoreModel._meta,
        "title": _("Backtest of “%(name)s”") % {"name": score},
        "score": score,
        "form": form,
        "is_late": time.is_up,
        "found": found,
        "verdict": found and backtest.verdict(found),
        "says": backtest.comparison(found) if found else [],
        "interval": found.interval() if found and found.auc is not None else None,
        "drawing": drawing(found) if found and found.auc is not None else None,
        "lines": lines(found) if found and found.auc is not None else [],
        "may_use": request.user.has_perm("scoring.change_scoremodel"),
        # As it is read back: the form's number, and not the one of the reader's language.
        "threshold": repr(step.at) if step and step.at != score.qualify_at else "",
        "was": request.GET.get("was"),
    }
    return TemplateResponse(request, "scoring/backtest.html", context)


@require_POST
@permission_required("scoring.change_scoremodel", raise_exception=True)
def use(request: HttpRequest, pk: int) -> HttpResponse:
    """Sets the threshold, and tells what it was; “” takes it away, which is how setting a first one is undone."""
    score = get_object_or_404(ScoreModel, pk=pk)
    back = reverse("admin:scoring_scoremodel_backtest", args=[pk])
    told = request.POST.get("threshold", "").strip()
    try:
        threshold = float(told) if told else None
        if threshold is not None and not math.isfinite(threshold):
            raise ValueError
    except ValueError:
        messages.error(request, _("The threshold must be a number."))
        return redirect(back)
    before = score.qualify_at
    ScoreModel.objects.filter(pk=pk).update(qualify_at=threshold)
    LogEntry.objects.log_actions(
        int(request.user.pk or 0), [score], CHANGE, [{"changed": {"fields": [_("qualified from")]}}]
    )  # fmt: skip
    new, old = (_("none") if one is None else backtest.say_number(one) for one in (threshold, before))
    messages.success(
        request,
        _("The threshold is %(new)s now; it was %(old)s. It counts for everybody from the next tick on.")
        % {"new": new, "old": old},
    )
    return redirect(f"{back}?was={'' if before is None else repr(before)}")


def urls(in_admin: Callable[..., Any]) -> list[URLPattern]:
    """The addresses of both, below those of the scores in the admin."""
    return [
        path("<int:pk>/backtest/", in_admin(page), name="scoring_scoremodel_backtest"),
        path("<int:pk>/backtest/use/", in_admin(use), name="scoring_scoremodel_use"),
    ]
