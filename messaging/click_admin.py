"""Screens of clicks and opens: who clicked what with a template, and what was seen, hit by hit."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, pgettext_lazy

from contacts.models import Contact
from contacts.sql import in_time
from messaging import clicks, hits, machines
from messaging.clicks import Scope
from messaging.models import Hit, Link, Template

PERIODS = (7, 30, 90, 365)
PERIOD = 90
_PATIENCE = timedelta(seconds=10)
BY = {"human": _("people"), "privacy": _("privacy proxies"), "machine": _("machines")}


def days_of(request: HttpRequest) -> int:
    """How far back a page looks; what is no choice of ours is the usual period."""
    asked = request.GET.get("days", "")
    return int(asked) if asked in {str(one) for one in PERIODS} else PERIOD


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def report_page(request: HttpRequest, scope: Scope, *, title: str, back: list[tuple[str, str]], **context: Any) -> Any:
    """The page of a scope: its numbers, and with `of` in the address the people behind one of them.

    `back` are the pages above it, as address and name. Raises PermissionDenied for whoever may not see sent mail.
    """
    if not request.user.has_perm("messaging.view_message"):
        raise PermissionDenied
    days, report, answers = days_of(request), None, None
    asked = _asked(request)
    with in_time(_PATIENCE) as time:
        report = clicks.report(scope)
        if asked:
            answers = clicks.who(scope, **asked)
    may_see = request.user.has_perm("contacts.view_contact")
    kept = {name: request.GET[name] for name in ("template", "occasion") if name in request.GET}
    return TemplateResponse(
        request,
        "messaging/clicks.html",
        {
            **admin.site.each_context(request),
            "title": title,
            "back": back,
            "periods": [(number, urlencode({**kept, "days": number}), number == days) for number in PERIODS],
            "here": urlencode({**kept, "days": days}),
            "is_too_long": time.is_up,
            "report": report,
            "reasons": [(machines.sentence(reason), *counts) for reason, *counts in (report.reasons if report else [])],
            "most_links": clicks.MOST_LINKS if report and len(report.links) == clicks.MOST_LINKS else None,
            "asked": asked and _said(asked),
            "answers": answers,
            "people": _people(request, answers) if answers is not None and may_see else [],
            "may_see": may_see,
            "pages": _pages(request, answers, asked["page"]) if asked and answers else {},
            **context,
        },
    )


def _asked(request: HttpRequest) -> dict[str, Any] | None:
    """The number whose people are asked for, as `clicks.who` wants it. Raises Http404 for one that does not exist."""
    told = request.GET
    if told.get("of") not in ("clicks", "opens"):
        return None
    by, link, page = told.get("by", "human"), told.get("link"), _number(told.get("page", "1"))
    if by not in clicks.WHO or page is None or not 1 <= page <= 100_000:
        raise Http404
    if link is not None and _number(link) is None:
        raise Http404
    return {
        "is_open": told["of"] == "opens",
        "by": by,
        "link": _number(link) if link is not None else None,
        "language": told.get("language", "").replace("\0", "") if "language" in told else None,
        "page": page,
    }


def _said(asked: dict[str, Any]) -> dict[str, Any]:
    url = Link.objects.filter(pk=asked["link"]).values_list("url", flat=True).first() if asked["link"] else ""
    return {**asked, "url": url or "", "by_words": BY[asked["by"]]}


def _people(request: HttpRequest, answers: clicks.Answers) -> list[tuple[Contact | None, clicks.Answer]]:
    found = Contact.objects.visible_to(request.user).in_bulk([one.contact_id for one in answers])
    return [(found.get(one.contact_id), one) for one in answers]


def _pages(request: HttpRequest, answers: clicks.Answers, page: int) -> dict[str, str]:
    query, pages = request.GET.copy(), {}
    for name, number in (("newer", page - 1), ("older", page + 1)):
        if 1 <= number <= -(-answers.people // clicks.PAGE):
            query["page"] = str(number)
            pages[name] = query.urlencode()
    return pages


class ByFilter(admin.SimpleListFilter):
    """Fixed choices, so that no query runs to find them."""

    title = _("made by")
    parameter_name = "by"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list:
        return [("person", _("people")), ("machine", _("machines"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        if self.value() == "person":
            return queryset.filter(is_told=True, machine_reason="")
        return queryset.exclude(machine_reason="") if self.value() == "machine" else queryset


@admin.register(Hit)
class HitAdmin(admin.ModelAdmin):
    """What was seen and how it was judged: looked at and judged anew, never edited."""

    list_display = ["hit_at", "what", "whose", "verdict", "why", "program"]
    fields = [
        "hit_at", "what", "whose", "verdict", "why", "rule_version", "method", "user_agent", "network", "journey_key",
        "language",
    ]  # fmt: skip
    readonly_fields = ["what", "whose", "verdict", "why"]
    list_filter = [ByFilter]
    ordering = ["-pk"]
    list_per_page = 50
    show_full_result_count = False
    actions = ["judge_anew"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Hit | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Hit | None = None) -> bool:
        return False

    def has_judge_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("messaging.change_hit")

    @admin.display(description=_("what"))
    def what(self, hit: Hit) -> Any:
        if hit.link_id is None:
            return pgettext_lazy("what was done with a mail", "open")
        return (
            _("hidden link") if hit.link_id == Hit.HIDDEN_LINK else pgettext_lazy("what was done with a mail", "click")
        )

    @admin.display(description=_("message"))
    def whose(self, hit: Hit) -> str:
        url = reverse("admin:messaging_message_change", args=[hit.message_id])
        return format_html('<a href="{}">{}</a>', url, hit.message_id)

    @admin.display(description=_("made by"))
    def verdict(self, hit: Hit) -> str:
        if not hit.is_told:
            return format_html('<span class="chip">{}</span>', _("not judged yet"))
        if not hit.machine_reason:
            return format_html('<span class="chip is-good">{}</span>', _("a person"))
        by = _("a privacy proxy") if hit.machine_reason in machines.PRIVACY else _("a machine")
        return format_html('<span class="chip is-warn">{}</span>', by)

    @admin.display(description=_("reason"))
    def why(self, hit: Hit) -> str:
        return machines.sentence(hit.machine_reason) if hit.machine_reason else ""

    @admin.display(description=_("user agent"))
    def program(self, hit: Hit) -> str:
        return Truncator(hit.user_agent).chars(60)

    @admin.action(description=_("Judge anew by today's rules"), permissions=["judge"])
    def judge_anew(self, request: HttpRequest, queryset: QuerySet[Hit]) -> None:
        changed = hits.reclassify(timezone.now(), ids=list(queryset.values_list("pk", flat=True)))
        said = ngettext("%(count)d changed sides.", "%(count)d changed sides.", changed) % {"count": changed}
        messages.success(request, said)

    def get_urls(self) -> list:
        return [
            path("report/", self.admin_site.admin_view(self.report), name="messaging_hit_report"),
            *super().get_urls(),
        ]

    def report(self, request: HttpRequest) -> HttpResponse:
        """Who clicked what with a template, whatever sent it."""
        since = timezone.now() - timedelta(days=days_of(request))
        template = get_object_or_404(Template, key=request.GET.get("template", "").replace("\0", ""))
        back = [
            (reverse("admin:messaging_template_changelist"), str(Template._meta.verbose_name_plural).capitalize()),
            (reverse("admin:messaging_template_change", args=[template.pk]), str(template)),
        ]
        return report_page(request, Scope.of_template(template, since), title=str(template), back=back)
