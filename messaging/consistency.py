"""The page on which a brand is seen to drift: what the linter has against all live messages, and how they differ."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.contrib import messages
from django.contrib.admin import site
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from contacts.models import Heartbeat
from messaging import deadlinks, drift, nightly
from messaging.linter import RULES, in_words
from messaging.models import Brand, LintFinding, Reading

# More findings than this nobody reads on one page; the worst come first.
MOST = 300
OPENED = 5
# So many messages are looked at while somebody waits; more are left to the next minute's alarm.
MOST_AT_ONCE = 100
LONGEST_REASON = 300


@dataclass(frozen=True)
class Said:
    """A finding as one line of the page."""

    finding: LintFinding
    title: str  # of its rule
    sentence: str


@dataclass
class Pile:
    """The findings of one rule, or of one message."""

    title: str
    lead: str
    severity: str
    url: str = ""
    lines: list[Said] = field(default_factory=list)

    @property
    def first(self) -> list[Said]:
        return self.lines[:OPENED]

    @property
    def rest(self) -> list[Said]:
        """Those that are folded away."""
        return self.lines[OPENED:]


@require_safe
@permission_required("messaging.view_lintfinding", raise_exception=True)
def page(request: HttpRequest) -> HttpResponse:
    """All open findings by rule or by message, and what all messages together look and sound like."""
    by = request.GET.get("by", "rule")
    by = by if by in ("rule", "message", "muted") else "rule"
    findings = LintFinding.objects.filter(resolved_at=None).select_related("template", "muted_by")
    shown = findings.exclude(muted_at=None) if by == "muted" else findings.filter(muted_at=None)
    some = list(shown.order_by("severity", "rule", "template__key", "language", "pk")[: MOST + 1])
    readings = list(Reading.objects.select_related("template").order_by("template__key")[:500])
    counts = nightly.open_counts()
    brand = Brand.objects.first()
    struck = LintFinding.objects.open().order_by().values("template").distinct().count()
    total = Reading.objects.count()
    context = {
        **site.each_context(request),
        "title": _("Consistency"),
        "by": by,
        "brand": brand,
        "piles": (by_message if by == "message" else by_rule)(some[:MOST]),
        "is_cut": len(some) > MOST,
        "most": MOST,
        "errors": counts["error"],
        "warnings": counts["warning"],
        "muted_count": findings.exclude(muted_at=None).count(),
        "messages_total": total,
        "clean": max(total - struck, 0),
        "looked_at": nightly.last_round(),
        "just_muted": next(iter(findings.filter(pk=_number(request.GET.get("muted"))).exclude(muted_at=None)), None),
        "colours": drift.strange(readings, "colours"),
        "fonts": drift.strange(readings, "fonts"),
        "tones": drift.tones(readings),
        "spellings": drift.spellings(findings.filter(rule="glossary", muted_at=None)[:MOST]),
        "gaps": drift.gaps(readings, brand)[:50],
        "may_change": request.user.has_perm("messaging.change_lintfinding"),
        "longest_reason": LONGEST_REASON,
    }
    return render(request, "messaging/consistency.html", context)


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 19 else 0


def _said(one: LintFinding) -> Said:
    rule = RULES.get(one.rule)
    return Said(one, str(rule.title) if rule else one.rule, in_words(one.said, one.values))


def by_rule(findings: Iterable[LintFinding]) -> list[Pile]:
    """Piles by rule and gravity, errors first."""
    piles: dict[tuple[str, str], Pile] = {}
    for one in findings:
        if (pile := piles.get((one.severity, one.rule))) is None:
            rule = RULES.get(one.rule)
            title, lead = (str(rule.title), str(rule.mend)) if rule else (one.rule, "")
            pile = piles[one.severity, one.rule] = Pile(title, lead, one.severity)
        pile.lines.append(_said(one))
    return list(piles.values())


def by_message(findings: Iterable[LintFinding]) -> list[Pile]:
    """Piles by message; as grave as the worst in them, errors first."""
    piles: dict[int, Pile] = {}
    for one in findings:
        pile = piles.setdefault(one.template_id, Pile(str(one.template), one.template.key, one.severity))
        pile.lines.append(_said(one))
    return sorted(piles.values(), key=lambda pile: (pile.severity, -len(pile.lines), pile.title))


@require_POST
@permission_required("messaging.change_lintfinding", raise_exception=True)
def look(request: HttpRequest) -> HttpResponse:
    """Looks again now; where there are too many messages to wait for, within a minute."""
    if nightly.live().count() > MOST_AT_ONCE:
        Heartbeat.objects.filter(name=nightly.ROUND).delete()
        messages.success(request, _("There are many messages: they are looked at within the next minutes."))
        return redirect("admin:messaging_consistency")
    # All links together take their time and are asked at night.
    deadlinks.look_at_dead(timezone.now())
    done = nightly.lint(timezone.now(), asks_links=False)
    if done is None:
        messages.info(request, _("Somebody else is looking just now; load this page again in a moment."))
    else:
        said = ngettext("%(count)d message was looked at.", "%(count)d messages were looked at.", done.templates)
        messages.success(request, said % {"count": done.templates})
    return redirect("admin:messaging_consistency")


@require_POST
@permission_required("messaging.change_lintfinding", raise_exception=True)
def mute(request: HttpRequest, pk: int) -> HttpResponse:
    """A person says that a finding is right as it is, and why."""
    finding = get_object_or_404(LintFinding, pk=pk, resolved_at=None)
    reason = " ".join(request.POST.get("reason", "").replace("\0", "").split())[:LONGEST_REASON]
    if not reason:
        messages.error(request, _("Say why this is right as it is."))
        return _back(request)
    finding.mute(by=request.user, reason=reason, now=timezone.now())
    return _back(request, muted=finding.pk)


@require_POST
@permission_required("messaging.change_lintfinding", raise_exception=True)
def unmute(request: HttpRequest, pk: int) -> HttpResponse:
    """Takes a muting back."""
    get_object_or_404(LintFinding, pk=pk).unmute()
    return _back(request)


def _back(request: HttpRequest, **query: Any) -> HttpResponse:
    by = request.POST.get("by", "rule")
    asked = {"by": by if by in ("rule", "message", "muted") else "rule", **query}
    return redirect(reverse("admin:messaging_consistency", query=asked))
