"""The screens of exports: what to take out of the house, and the record of who took what."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts import exporting
from contacts.models import Contact, Export
from contacts.searching import EstimatingPaginator

# What is ticked until somebody says otherwise; custom fields and consents are all.
_USUAL = {
    "id", "user_id", "email", "first_name", "last_name", "phone", "company", "company.domain", "job_title", "language",
    "country", "owner", "source", "stage",
}  # fmt: skip


def may_export(request: HttpRequest) -> bool:
    """A right of its own, and the right to look at people at all."""
    user = request.user
    people = admin.site.get_model_admin(Contact)
    return user.has_perm("contacts.export_contact") and people.has_view_permission(request)


@admin.action(description=gettext_lazy("Take out as a file …"), permissions=["export"])
def export_selected(contact_admin: Any, request: HttpRequest, people: Any) -> HttpResponseBase:
    """Leads from the chosen rows of the list to the page that asks for columns and format."""
    address = reverse("admin:contacts_export_people")
    if request.POST.get("select_across") == "1":
        return redirect(f"{address}?{request.GET.urlencode()}")
    return redirect(f"{address}?{urlencode({'id__in': ','.join(request.POST.getlist('_selected_action'))})}")


@admin.register(Export)
class ExportAdmin(admin.ModelAdmin):
    list_display = ["made_at", "made_by", "people", "format", "door", "asked", "is_complete"]
    list_select_related = ["made_by"]
    list_display_links = ["made_at"]
    sortable_by = ()
    actions = None
    change_list_template = "contacts/export_change_list.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # a record that can be deleted proves nothing

    def get_urls(self) -> list:
        page = self.admin_site.admin_view(self.people_view)
        return [path("people/", page, name="contacts_export_people"), *super().get_urls()]

    def people_view(self, request: HttpRequest) -> HttpResponseBase:
        """Which columns, in which format; a POST answers the file. The parameters are those of the list of contacts."""
        if not may_export(request):
            raise PermissionDenied
        try:
            listed = self.admin_site.get_model_admin(Contact).get_changelist_instance(request)  # type: ignore[attr-defined]
        except IncorrectLookupParameters:
            return redirect("admin:contacts_contact_changelist")
        people = listed.get_queryset(request)
        known = exporting.columns()
        problem = ""
        if request.method == "POST":
            wanted = [name for name in known if name in request.POST.getlist("column")]
            if not wanted:
                problem = _("Choose at least one column.")
            elif (format := request.POST.get("format", "")) not in ("csv", "xlsx"):
                problem = _("Choose a format.")
            else:
                now = timezone.now()
                blocks = exporting.export(
                    people, format=format, wanted=wanted, by=request.user, door="admin",
                    asked=request.GET.urlencode(), now=now, has_mark=True,
                )  # fmt: skip
                return as_file(blocks, format, f"contacts-{timezone.localtime(now):%Y-%m-%d}.{format}")
        groups = [
            (_("Person"), [name for name in known if name in exporting.COLUMNS]),
            (_("Custom fields"), [name for name in known if name.startswith("attributes.")]),
            (_("Consent"), [name for name in known if name.startswith("consents.")]),
        ]
        chosen = set(request.POST.getlist("column")) or _USUAL | {
            name for name in known if name not in exporting.COLUMNS
        }
        context = self.admin_site.each_context(request) | {
            "title": _("Take people out as a file"),
            "opts": self.opts,
            "count": EstimatingPaginator(people, 1).count,
            "is_filtered": bool(request.GET),
            "problem": problem,
            "groups": [
                (label, [(name, known[name], name in chosen) for name in names]) for label, names in groups if names
            ],
        }
        return TemplateResponse(request, "contacts/export_people.html", context, status=400 if problem else 200)


def as_file(blocks: Any, format: str, name: str) -> StreamingHttpResponse:
    """An answer that is saved, not shown, and kept by no cache."""
    return StreamingHttpResponse(
        blocks,
        content_type=exporting.MEDIA_TYPES[format],
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        },
    )
