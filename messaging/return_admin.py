"""The screens of what came back: dead letters, messages in doubt, and the complaint brake."""

from datetime import timedelta
from email.header import decode_header, make_header
from email.parser import BytesHeaderParser
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from messaging import brake, doubts, returning
from messaging.models import Brake, Feedback, Message, ReportCount, ReturnedMail

# So much of a mail is shown, so many messages in doubt, and what providers told in so many days.
_SHOWN_BYTES, _SHOWN, _COUNTED = 16_384, 200, timedelta(days=30)

KINDS = {
    **dict(Feedback.VERDICTS),
    "unsubscribed": gettext_lazy("unsubscribed"),
    "automatic": gettext_lazy("automatic answer"),
    "delayed": gettext_lazy("delayed"),
    "other": gettext_lazy("no report"),
    "": gettext_lazy("not readable"),
}
SOURCES = {
    "hook": gettext_lazy("mail server"), "maildir": gettext_lazy("mailbox"), "imap": gettext_lazy("mailbox"),
    "pop": gettext_lazy("mailbox"),
}  # fmt: skip
OUTCOMES = {
    "settled": gettext_lazy("of our messages"), "unknown": gettext_lazy("of no message of ours, dropped"),
    "unused": gettext_lazy("without effect"),
}  # fmt: skip


def subject_of(raw: bytes) -> str:
    """The subject of a mail, as far as it can be read."""
    mail = BytesHeaderParser().parsebytes(raw[:_SHOWN_BYTES])
    written = next((str(value) for name, value in mail.raw_items() if name.lower() == "subject"), "")[:500]
    try:
        # Bare 8-bit letters are in the mail's own character set, if in any.
        data = written.encode("utf-8", "surrogateescape")
        written = data.decode("utf-8" if written.isascii() else mail.get_content_charset("utf-8"), "replace")
        return str(make_header(decode_header(written)))[:200]
    except (LookupError, ValueError, UnicodeError):
        return written.encode("utf-8", "replace").decode()[:200]


class ReturnedState(admin.SimpleListFilter):
    """The dead unless something else is asked for."""

    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list:
        return [one for one in ReturnedMail.STATES if one[0] != "dead"]

    def choices(self, changelist: Any) -> Any:
        first, *rest = super().choices(changelist)
        yield first | {"display": dict(ReturnedMail.STATES)["dead"]}
        yield from rest

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(state=self.value() if self.value() in dict(ReturnedMail.STATES) else "dead")


@admin.register(ReturnedMail)
class ReturnedMailAdmin(admin.ModelAdmin):
    list_display = ["received_at", "subject", "kind_name", "source_name", "why"]
    list_display_links = ["received_at", "subject"]
    list_filter = [ReturnedState]
    ordering = ["-pk"]
    sortable_by = ()
    list_per_page = 50
    show_full_result_count = False
    actions = ["read_again", "drop"]
    change_list_template = "messaging/returnedmail_change_list.html"

    @admin.display(description=gettext_lazy("subject"))
    def subject(self, mail: ReturnedMail) -> str:
        return subject_of(bytes(mail.raw)) or "–"

    @admin.display(description=gettext_lazy("kind"))
    def kind_name(self, mail: ReturnedMail) -> str:
        return str(KINDS.get(mail.kind, mail.kind))

    @admin.display(description=gettext_lazy("came in by"))
    def source_name(self, mail: ReturnedMail) -> str:
        return str(SOURCES.get(mail.source, mail.source))

    @admin.display(description=gettext_lazy("why it is here"))
    def why(self, mail: ReturnedMail) -> str:
        return _(mail.reason) if mail.reason else ""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list:
        wrap = self.admin_site.admin_view
        return [
            path("doubtful/", wrap(self.doubtful_view), name="messaging_returnedmail_doubtful"),
            path("<int:pk>/act/", wrap(self.act_view), name="messaging_returnedmail_act"),
            *super().get_urls(),
        ]

    def _tabs(self) -> dict[str, int]:
        return {
            "dead": ReturnedMail.objects.filter(state="dead").count(),
            "uncertain": doubts.uncertain().count(),
            "given_up": doubts.given_up().count(),
        }

    def changelist_view(self, request: HttpRequest, extra_context: dict | None = None) -> HttpResponse:
        counted = (
            ReportCount.objects.filter(day__gt=timezone.now().date() - _COUNTED)
            .values_list("source", "outcome").annotate(number=Sum("count")).order_by("source", "outcome")
        )  # fmt: skip
        told = [(source, OUTCOMES.get(outcome, outcome), number) for source, outcome, number in counted]
        return super().changelist_view(
            request, {"title": _("Dead letters"), "tabs": self._tabs(), "told": told, **(extra_context or {})}
        )

    @admin.action(description=gettext_lazy("Read again"), permissions=["change"])
    def read_again(self, request: HttpRequest, queryset: QuerySet) -> None:
        self._read(request, list(queryset.values_list("pk", flat=True)))

    @admin.action(description=gettext_lazy("Drop"), permissions=["change"])
    def drop(self, request: HttpRequest, queryset: QuerySet) -> None:
        count = returning.drop(mails=queryset.values_list("pk", flat=True), now=timezone.now())
        messages.success(request, _("Dropped: %(count)d.") % {"count": count})

    def _read(self, request: HttpRequest, mails: list[int]) -> None:
        returning.again(mails=mails)
        returning.read_waiting(now=timezone.now())
        left = ReturnedMail.objects.filter(pk__in=mails, state="dead").count()
        text = _("Read again: %(count)d; still unclear: %(left)d.")
        messages.success(request, text % {"count": len(mails), "left": left})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict | None = None
    ) -> HttpResponse:
        """What came in, letter by letter and never as HTML."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        mail = (
            ReturnedMail.objects.filter(pk=object_id).first() if object_id.isdecimal() and len(object_id) < 19 else None
        )
        if mail is None:
            raise Http404
        raw = bytes(mail.raw).replace(b"\r\n", b"\n")
        head, _gap, body = raw.partition(b"\n\n")
        context = {
            **self.admin_site.each_context(request),
            "title": subject_of(raw) or _("Returned mail"),
            "opts": self.opts,
            "mail": mail,
            "kind": self.kind_name(mail),
            "source": self.source_name(mail),
            "why": self.why(mail),
            "head": head[:_SHOWN_BYTES].decode("utf-8", "replace"),
            "body": body[:_SHOWN_BYTES].decode("utf-8", "replace"),
            "is_cut": len(body) > _SHOWN_BYTES or mail.size > len(mail.raw) > 0,
            "may_act": self.has_change_permission(request) and mail.state == "dead",
        }
        return TemplateResponse(request, "messaging/returnedmail.html", context)

    def act_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The buttons of one dead letter."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_change_permission(request):
            raise PermissionDenied
        match request.POST.get("act"):
            case "again":
                self._read(request, [pk])
            case "drop":
                count = returning.drop(mails=[pk], now=timezone.now())
                messages.success(request, _("Dropped: %(count)d.") % {"count": count})
        return redirect("admin:messaging_returnedmail_changelist")

    # Messages in doubt

    def doubtful_view(self, request: HttpRequest) -> HttpResponse:
        """Messages that may have left, and those that were given up; POST decides about the chosen ones."""
        if not request.user.has_perm("messaging.view_message"):
            raise PermissionDenied
        which = "given_up" if request.GET.get("which") == "given_up" else "uncertain"
        if request.method == "POST":
            if not request.user.has_perm("messaging.change_message"):
                raise PermissionDenied
            return self._decide(request, which)
        rows = doubts.given_up() if which == "given_up" else doubts.uncertain()
        context = {
            **self.admin_site.each_context(request),
            "title": _("Given up") if which == "given_up" else _("Perhaps sent"),
            "opts": self.opts,
            "which": which,
            "tabs": self._tabs(),
            "rows": rows.select_related("contact", "template").order_by("-pk")[:_SHOWN],
            "shown": _SHOWN,
            "may_decide": request.user.has_perm("messaging.change_message"),
        }
        return TemplateResponse(request, "messaging/doubtful.html", context)

    def _decide(self, request: HttpRequest, which: str) -> HttpResponse:
        chosen = [int(one) for one in request.POST.getlist("message") if one.isdecimal() and len(one) < 19]
        act, is_sure = request.POST.get("act"), bool(request.POST.get("is_sure"))
        back = f"{request.path}?which={which}"
        if not chosen:
            messages.error(request, _("Choose messages first."))
        elif act == "again" and which == "uncertain" and not is_sure:
            messages.error(request, _("They may arrive twice. Tick the box if that is better than not at all."))
        elif act in ("again", "sent"):
            now = timezone.now()
            if act == "again":
                count, words = doubts.send_again(messages=chosen, now=now), _("Goes again: %(count)d.")
            else:
                count, words = len(doubts.mark_sent(messages=chosen, now=now)), _("Counted as sent: %(count)d.")
            who: Any = request.user
            LogEntry.objects.log_actions(
                who.pk, Message.objects.filter(pk__in=chosen), CHANGE, change_message=f"doubtful: {act}"
            )
            messages.success(request, words % {"count": count})
        return redirect(back)


@admin.register(Brake)
class BrakeAdmin(admin.ModelAdmin):
    """When marketing was held back, why, and who let it go again."""

    list_display = ["pulled_at", "why", "state_chip", "released_at", "released_by", "note"]
    list_display_links = None
    list_select_related = ["pulled_by", "released_by"]
    ordering = ["-pk"]
    sortable_by = ()
    actions = None
    change_list_template = "messaging/brake_change_list.html"
    why_empty = gettext_lazy(
        "When three or more people, and 0.3 per cent of the last 1,000 marketing mails, complain, all marketing waits "
        "until somebody lets it go again: beyond that mail providers take everything we send for spam."
    )

    @admin.display(description=gettext_lazy("why"))
    def why(self, row: Brake) -> str:
        return brake.in_words(row)

    @admin.display(description=gettext_lazy("state"))
    def state_chip(self, row: Brake) -> str:
        words, colour = (_("over"), "") if row.released_at else (_("holds marketing back"), "is-bad")
        return format_html('<span class="chip {}">{}</span>', colour, words)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list:
        act = self.admin_site.admin_view(self.act_view)
        return [path("act/", act, name="messaging_brake_act"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict | None = None) -> HttpResponse:
        held = brake.pulled()
        context = {
            "title": _("Complaint brake"),
            "held": held,
            "why_held": brake.in_words(held) if held else "",
            "waiting": Message.objects.filter(
                state="pending", message_class="marketing", due_at__lte=timezone.now()
            ).count()
            if held
            else 0,
            "may_act": self.has_change_permission(request),
        }
        return super().changelist_view(request, context | (extra_context or {}))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict | None = None
    ) -> HttpResponse:
        """There is no more to one of them than stands in the list."""
        raise Http404

    def act_view(self, request: HttpRequest) -> HttpResponse:
        """Holds all marketing back, or lets it go."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_change_permission(request):
            raise PermissionDenied
        now, why = timezone.now(), request.POST.get("why", "").strip()[:2000]
        held = brake.pulled()
        if not why:
            messages.error(request, _("Say why; it is kept."))
        elif request.POST.get("act") == "release" and held:
            brake.release(brake=held, by=request.user, note=why, now=now)
            messages.success(
                request, _("Marketing goes again, through all gates. Below you can hold it back once more.")
            )
        elif request.POST.get("act") == "pull" and not held:
            brake.pull(now=now, by=request.user, reason=why)
            messages.warning(request, _("All marketing is held back from now on."))
        return redirect("admin:messaging_brake_changelist")
