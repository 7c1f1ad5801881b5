"""The screens of imports: upload, columns, dry run, progress, the rows that were refused, and the way back."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.http.response import HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from contacts import columns, importing, undoing
from contacts.csvfiles import Unreadable
from contacts.import_forms import ColumnForm, OptionsForm, ReadingForm, UploadForm, remember, targets
from contacts.models import Import

_COLOURS = {
    "draft": "", "checking": "is-info", "waiting": "is-info", "running": "is-info", "paused": "is-warn",
    "finished": "is-good", "failed": "is-bad", "cancelled": "is-warn", "undoing": "is-violet", "undone": "is-violet",
}  # fmt: skip
BUSY = ("waiting", "running", "checking", "undoing")
_SAMPLES, _SHOWN_NOTES = 3, 50
# What a newcomer may try, and what the columns may look like.
_SAMPLE_FILE = (
    "\ufeffE-mail;First name;Last name;Telephone;Company;Country;Plan\r\n"
    "anna@example.com;Anna;Žlutá;+420 777 123 456;Acme;Czechia;trial\r\n"
    "jan@example.com;Jan;Łęcki;+48 501 234 567;Beta;PL;paid\r\n"
)


@admin.register(Import)
class ImportAdmin(admin.ModelAdmin):
    list_display = ["name", "state_now", "rows", "created", "updated", "unchanged", "rejected", "starter", "created_at"]
    list_select_related = ["started_by"]
    list_per_page = 50
    sortable_by = ()
    change_list_template = "contacts/import_change_list.html"
    actions = None

    @admin.display(description=gettext_lazy("state"))
    def state_now(self, one: Import) -> str:
        return format_html('<span class="chip is-dot {}">{}</span>', _COLOURS[one.state], one.get_state_display())

    @admin.display(description=gettext_lazy("started by"))
    def starter(self, one: Import) -> Any:
        return one.started_by

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("mapping", "headers")

    # Who may

    def has_add_permission(self, request: HttpRequest) -> bool:
        """An import makes and changes people, so whoever starts one must be allowed to."""
        people = ["contacts.add_contact", "contacts.change_contact"]
        return super().has_add_permission(request) and request.user.has_perms(people)

    def has_change_permission(self, request: HttpRequest, obj: Import | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Import | None = None) -> bool:
        return super().has_view_permission(request, obj) or self.has_add_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Import | None = None) -> bool:
        is_busy = obj is not None and obj.state in BUSY
        return not is_busy and super().has_delete_permission(request, obj)

    def may_undo(self, request: HttpRequest) -> bool:
        return self.has_add_permission(request) and request.user.has_perm("contacts.delete_contact")

    def get_deleted_objects(self, objs: Iterable[Import], request: HttpRequest) -> Any:
        # A million rows go with it; listing them helps nobody.
        return [str(one) for one in objs], {}, set(), []

    def delete_model(self, request: HttpRequest, obj: Import) -> None:
        importing.drop(obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for one in queryset:
            importing.drop(one)

    # Pages

    def get_urls(self) -> list:
        wrap = self.admin_site.admin_view
        return [
            path("sample/", wrap(self.sample_view), name="contacts_import_sample"),
            path("<int:pk>/columns/", wrap(self.columns_view), name="contacts_import_columns"),
            path("<int:pk>/act/", wrap(self.act_view), name="contacts_import_act"),
            path("<int:pk>/undo/", wrap(self.undo_view), name="contacts_import_undo"),
            path("<int:pk>/report/", wrap(self.report_view), name="contacts_import_report"),
            path("<int:pk>/file/", wrap(self.file_view), name="contacts_import_file"),
            *super().get_urls(),
        ]

    def _page(self, request: HttpRequest, template: str, title: str, **context: Any) -> TemplateResponse:
        context |= self.admin_site.each_context(request) | {"title": title, "opts": self.opts}
        return TemplateResponse(request, f"contacts/{template}", context)

    def _one(self, request: HttpRequest, pk: int, *, may_run: bool = False) -> Import:
        is_allowed = self.has_add_permission(request) if may_run else self.has_view_permission(request)
        if not is_allowed:
            raise PermissionDenied
        one = Import.objects.select_related("segment", "started_by").filter(pk=pk).first()
        if one is None:
            raise Http404
        return one

    def sample_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return _attached(HttpResponse(_SAMPLE_FILE, content_type="text/csv; charset=utf-8"), "people.csv")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        """First step: the file."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = UploadForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid() and (one := form.save(request.user)):
            self.log_addition(request, one, [{"added": {}}])
            return redirect("admin:contacts_import_columns", one.pk)
        return self._page(request, "import_add.html", _("Import people"), form=form)

    def columns_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Second step: how the file is read, what its columns fill, and what is to become of its rows."""
        one = self._one(request, pk, may_run=True)
        if one.state != "draft" or not one.file:
            return redirect("admin:contacts_import_change", pk)
        may_raise = request.user.has_perm("contacts.raise_consent")
        what = request.POST.get("do") if request.method == "POST" else ""
        try:
            with one.file.open("rb") as file:
                table = importing.open_file(one, file)
                samples = [row.cells for row in islice(table.rows(), _SAMPLES)]
        except (Unreadable, OSError) as error:
            messages.error(request, _said(error))
            return redirect("admin:contacts_import_changelist")
        reading = ReadingForm(request.POST if what == "read" else None, instance=one, sheets=table.sheets)
        if what == "read" and reading.is_valid():
            one = reading.save(commit=False)
            if request.POST.get("first_line_is_data"):
                one.header_line = 0
            return self._read_again(request, one)
        options = OptionsForm(request.POST if what == "save" else None, instance=one, may_raise=may_raise)
        forms = self._column_forms(one, samples, request.POST if what == "save" else None)
        # Each is asked, so that all that is wrong is said at once.
        if what == "save" and all([options.is_valid(), *(form.is_valid() for form in forms)]):
            mapping = {form.header: form.chosen() for form in forms}
            if twice := _twice(mapping):
                forms[twice].add_error("target", _("Another column fills this already."))
            else:
                one = options.save(commit=False)
                one.mapping, one.checked = mapping, None
                for form in forms:
                    if told := form.cleaned_data.get("reading"):
                        one.readings[form.header] = {"as": told, "is_sure": True}
                one.save()
                if one.may_raise_consent:
                    self.log_change(request, one, _("May raise consent: %(why)s") % {"why": one.raise_reason})
                return redirect("admin:contacts_import_change", pk)
        return self._page(
            request, "import_columns.html", _("Columns of %(name)s") % {"name": one.name},
            one=one, reading=reading, options=options, columns=forms, may_raise=may_raise, is_guess=not one.checked,
            is_headless=table.is_headless and one.header_line is None,
        )  # fmt: skip

    def _read_again(self, request: HttpRequest, one: Import) -> HttpResponseBase:
        try:
            with one.file.open("rb") as file:
                one.mapping = {}
                importing.settle_reading(one, importing.open_file(one, file))
        except Unreadable as error:
            messages.error(request, str(error))
        else:
            one.save()
            remember(one)
        return redirect("admin:contacts_import_columns", one.pk)

    def _column_forms(self, one: Import, samples: list[list[str]], data: Any) -> list[ColumnForm]:
        mapping = {**columns.guess(one.headers), **one.mapping}
        choices = targets(list(mapping.values()))
        unknown = set(columns.unknown_fields(mapping.values()))
        forms = []
        for number, header in enumerate(one.headers):
            target, name = mapping[header], header
            if target.startswith("attributes.") and target.partition(".")[2] in unknown:
                target = "+"
            values = [cells[number] for cells in samples if number < len(cells)]
            if header == f"#{number + 1}" and not any(value.strip() for value in values):
                continue  # a column of blanks
            forms.append(
                ColumnForm(
                    data,
                    prefix=str(number),
                    header=header,
                    samples=[value[:60] for value in values],
                    choices=choices,
                    reading=one.readings.get(header),
                    initial={"target": target, "name": name[:64] if slugify(name) else "", "type": _type_of(values)},
                )  # fmt: skip
            )
        return forms

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        """Third step: the dry run of the first rows; then the progress; in the end what became of it."""
        one = self._one(request, int(object_id) if object_id.isascii() and object_id.isdecimal() else 0)
        context = {
            "one": one,
            "colour": _COLOURS[one.state],
            "is_busy": one.state in BUSY,
            "may_run": self.has_add_permission(request),
            "may_undo": self.may_undo(request) and importing.is_undoable(one),
            "rate": round(one.rows / one.seconds) if one.seconds else 0,
            "remaining": _duration(one.seconds / one.share * (1 - one.share)) if one.share else "",
            "percent": f"{one.share:.0%}",
            "notes": list(one.notes.order_by("line", "pk")[:_SHOWN_NOTES]),
            "kept": undoing.kept(one, _SHOWN_NOTES) if one.state in ("undoing", "undone") else [],
        }
        if request.GET.get("part") == "progress":
            return TemplateResponse(request, "contacts/import_progress.html", context)
        if one.state == "draft" and one.file and self.has_add_permission(request):
            context |= _first_rows(one)
        return self._page(request, "import_change_form.html", one.name, **context)

    def act_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Check, start, pause, resume, cancel and undo: POST only."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        one = self._one(request, pk, may_run=True)
        what = request.POST.get("do", "")
        if what not in importing.MOVES:
            raise Http404
        if what == "undo" and not (self.may_undo(request) and importing.is_undoable(one)):
            raise PermissionDenied
        if (
            what in ("start", "resume")
            and one.may_raise_consent
            and not request.user.has_perm("contacts.raise_consent")
        ):
            raise PermissionDenied
        if what == "start":
            Import.objects.filter(pk=pk, state="draft").update(started_by=request.user, created_at=timezone.now())
        if importing.ask(one, what):
            self.log_change(request, one, what)
        else:
            messages.warning(request, _("It has moved on meanwhile; this is how it is now."))
        return redirect("admin:contacts_import_change", pk)

    def undo_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """What an undoing would do, before it does."""
        one = self._one(request, pk, may_run=True)
        if not (self.may_undo(request) and importing.is_undoable(one)):
            return redirect("admin:contacts_import_change", pk)
        found = undoing.preview(one, timezone.now())
        return self._page(
            request, "import_undo.html", _("Undo the import of %(name)s?") % {"name": one.name}, one=one, found=found
        )

    def report_view(self, request: HttpRequest, pk: int) -> StreamingHttpResponse:
        one = self._one(request, pk)
        answer = StreamingHttpResponse(importing.refused_rows(one), content_type="text/csv; charset=utf-8")
        return _attached(answer, f"import-{one.pk}-rows.csv")

    def file_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        one = self._one(request, pk, may_run=True)
        name = one.file.name if one.file else ""
        if not name or not one.file.storage.exists(name):
            raise Http404
        ending = name.rpartition(".")[2]
        return _attached(
            FileResponse(one.file.open("rb"), content_type="application/octet-stream"), f"import-{pk}.{ending}"
        )


def _attached(answer: Any, name: str) -> Any:
    """Whatever somebody uploaded is saved, never shown as a page of ours."""
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Cache-Control"] = "no-store"
    return answer


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, Unreadable) else _("The file is not there any more.")


def _first_rows(one: Import) -> dict[str, Any]:
    try:
        rows = importing.try_first_rows(one, timezone.now())
    except (Unreadable, OSError) as error:
        return {"unreadable": _said(error)}
    mapping = {**columns.guess(one.headers), **one.mapping}
    used = [number for number, header in enumerate(one.headers) if mapping[header]]
    labels = {
        "created": (_("new"), "is-good"), "updated": (_("changed"), "is-info"), "unchanged": (_("as it is"), ""),
        "rejected": (_("refused"), "is-bad"),
    }  # fmt: skip
    for row in rows:
        row["label"], row["colour"] = labels[row["status"]]
        row["shown"] = [row["cells"][number][:60] if number < len(row["cells"]) else "" for number in used]
    counts = [(label, colour, sum(row["status"] == key for row in rows)) for key, (label, colour) in labels.items()]
    return {
        "tried": rows,
        "tried_headers": [one.headers[number] for number in used],
        "tried_counts": counts,
        "tried_title": ngettext("Dry run of the first row", "Dry run of the first %(count)d rows", len(rows))
        % {"count": len(rows)},
    }


def _twice(mapping: dict[str, str]) -> int:
    """The place of the first column that fills what an earlier one fills; 0 if none does."""
    seen: set[str] = set()
    for place, target in enumerate(mapping.values()):
        if target and target in seen:
            return place
        seen.add(target)
    return 0


def _type_of(values: list[str]) -> str:
    """The type that a new field for such values is likely to have."""
    told = [value.strip() for value in values if value.strip()]
    if not told:
        return "text"
    reads = columns.readers()
    if all(isinstance(reads["number"](value), int | float) and value[:1] not in "0+" for value in told):
        return "number"
    if all(columns.boolean(value) is not None and not value.isdecimal() for value in told):
        return "boolean"
    if all(columns.is_day(value) for value in told):
        return "date"
    return "text"


def _duration(seconds: float) -> str:
    if seconds < 90:
        whole = max(1, round(seconds))
        return ngettext("%(count)d second", "%(count)d seconds", whole) % {"count": whole}
    whole = round(seconds / 60)
    return ngettext("%(count)d minute", "%(count)d minutes", whole) % {"count": whole}
