"""The screens of suppressed addresses: the list, one address with its history, files in and out."""

import csv
from collections import Counter
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts.csvfiles import Unreadable
from contacts.models import Contact
from messaging import suppressing
from messaging.models import Message, Suppression, SuppressionChange

_COLOURS = {"complained": "is-bad", "bounced": "is-warn", "unsubscribed": "is-info", "manual": "", "erased": ""}
# Of a file's refused rows so many are listed.
_SHOWN = 200


class _Echo:
    """A file of lines that are handed on at once."""

    def write(self, line: str) -> str:
        return line


class SuppressionReason(admin.SimpleListFilter):
    title = gettext_lazy("reason")
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list:
        return Suppression.REASONS

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(reason=self.value()) if self.value() in dict(Suppression.REASONS) else queryset


class SuppressionForm(forms.ModelForm):
    reason = forms.ChoiceField(
        label=gettext_lazy("Reason"), initial="manual",
        choices=[one for one in Suppression.REASONS if one[0] != "erased"],
    )  # fmt: skip

    class Meta:
        model = Suppression
        fields = ["address", "reason", "detail"]
        labels = {"detail": gettext_lazy("Why")}
        widgets = {
            "address": forms.TextInput(attrs={"class": "vTextField", "inputmode": "email", "spellcheck": "false"}),
            "detail": forms.TextInput(attrs={"class": "vTextField"}),
        }


class FileForm(forms.Form):
    file = forms.FileField(
        label=gettext_lazy("CSV or XLSX file"),
        widget=forms.FileInput(attrs={"accept": ".csv,.tsv,.txt,.xlsx"}),
        help_text=gettext_lazy(
            "With a column “address” or “email”; “reason” and “detail” are taken where there are such. At most "
            "100,000 rows."
        ),
    )
    why = forms.CharField(
        label=gettext_lazy("Why"), max_length=500, widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=gettext_lazy("Where the list comes from, such as “bounces of our former system”. It is kept."),
    )  # fmt: skip

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > suppressing.LARGEST_FILE:
            raise forms.ValidationError(_("The file is larger than 16 MB. Part it."))
        return file


@admin.register(Suppression)
class SuppressionAdmin(admin.ModelAdmin):
    form = SuppressionForm
    list_display = ["address", "reason_chip", "suppressed_at", "detail", "because_of"]
    list_filter = [SuppressionReason]
    search_fields = ["address"]
    search_help_text = gettext_lazy("A part of the address")
    ordering = ["-suppressed_at", "-pk"]
    show_full_result_count = False
    actions = None
    change_list_template = "messaging/suppression_change_list.html"

    @admin.display(description=gettext_lazy("reason"), ordering="reason")
    def reason_chip(self, row: Suppression) -> str:
        return format_html('<span class="chip {}">{}</span>', _COLOURS.get(row.reason, ""), row.get_reason_display())

    @admin.display(description=gettext_lazy("because of"))
    def because_of(self, row: Suppression) -> str:
        if not row.message_id:
            return ""
        url = reverse("admin:messaging_message_change", args=[row.message_id])
        return format_html('<a href="{}">{}</a>', url, _("the message"))

    # Taken off by its own page, which asks why.
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def may_remove(self, request: HttpRequest) -> bool:
        return request.user.has_perm("messaging.delete_suppression")

    def get_urls(self) -> list:
        wrap = self.admin_site.admin_view
        return [
            path("export/", wrap(self.export_view), name="messaging_suppression_export"),
            path("import/", wrap(self.import_view), name="messaging_suppression_import"),
            *super().get_urls(),
        ]

    def save_model(self, request: HttpRequest, obj: Suppression, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        who: Any = request.user
        SuppressionChange.objects.create(
            address=obj.address, action="added", reason=obj.reason, why=obj.detail, changed_at=obj.suppressed_at,
            changed_by=who,
        )  # fmt: skip

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict | None = None
    ) -> HttpResponse:
        """What is known of one address; POST takes it off the list."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = (
            Suppression.objects.filter(pk=object_id).first() if object_id.isdecimal() and len(object_id) < 19 else None
        )
        if row is None:
            raise Http404
        problem = ""
        if request.method == "POST":
            if not self.may_remove(request):
                raise PermissionDenied
            try:
                suppressing.remove(
                    suppression=row, why=request.POST.get("why", ""), by=request.user, now=timezone.now(),
                    may_lift=request.user.has_perm("messaging.lift_complaint"),
                    is_sure=bool(request.POST.get("is_sure")),
                )  # fmt: skip
            except (ValueError, suppressing.NotLifted) as error:
                problem = str(error)
            else:
                messages.success(request, _("Mail may go to %(address)s again.") % {"address": row.address})
                return redirect("admin:messaging_suppression_changelist")
        people = Contact.objects.visible_to(request.user).living().filter(email=row.address)[:5]
        context = {
            **self.admin_site.each_context(request),
            "title": row.address,
            "opts": self.opts,
            "row": row,
            "chip": self.reason_chip(row),
            "message": Message.objects.filter(pk=row.message_id or 0).select_related("template").first(),
            "people": people if request.user.has_perm("contacts.view_contact") else [],
            "changes": SuppressionChange.objects.filter(address=row.address)
            .select_related("changed_by")
            .order_by("-pk"),
            "may_remove": self.may_remove(request),
            "may_lift": row.reason != "complained" or request.user.has_perm("messaging.lift_complaint"),
            "problem": problem,
            "why": request.POST.get("why", ""),
        }
        return TemplateResponse(request, "messaging/suppression.html", context, status=400 if problem else 200)

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """What the list shows, filters and search included."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        rows = self.get_changelist_instance(request).get_queryset(request)
        writer = csv.writer(_Echo())
        lines = (writer.writerow(row) for row in suppressing.written(rows.iterator(chunk_size=2_000)))
        answer = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = 'attachment; filename="suppressed.csv"'
        answer["Cache-Control"] = "no-store"
        return answer

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """A file of addresses, and what became of each of its rows."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = FileForm(request.POST or None, request.FILES or None)
        counts, refused = None, []
        if request.method == "POST" and form.is_valid():
            try:
                outcomes = suppressing.bring(
                    form.cleaned_data["file"], why=form.cleaned_data["why"], by=request.user, now=timezone.now()
                )
            except Unreadable as error:
                form.add_error("file", str(error))
            else:
                told = Counter(one.result for one in outcomes)
                counts = [
                    (_("added"), told["added"]),
                    (_("there before"), told["there"]),
                    (_("refused"), told["refused"]),
                ]
                refused = [one for one in outcomes if one.sentence]
                form = FileForm()
        context = {
            **self.admin_site.each_context(request), "title": _("Import suppressed addresses"), "opts": self.opts,
            "form": form, "counts": counts, "refused": refused[:_SHOWN], "more": max(0, len(refused) - _SHOWN),
        }  # fmt: skip
        return TemplateResponse(request, "messaging/suppression_import.html", context)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> HttpResponse:
        if "_popup" in request.POST or "_addanother" in request.POST:
            return super().response_add(request, obj, post_url_continue)
        messages.success(request, _("Nobody writes to %(address)s any more.") % {"address": obj.address})
        return HttpResponseRedirect(reverse("admin:messaging_suppression_changelist"))
