"""The screens of companies: what we know, the people with their parts, what they did, and two that are one."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Max, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts import companies, segments, timeline
from contacts.forms import JSONText
from contacts.identity import FREE_MAIL, normalise_domain
from contacts.models import Company, Contact
from contacts.searching import EstimatingPaginator

_MOST_SHOWN = 100


class CompanyForm(forms.ModelForm):
    def clean_domain(self) -> str | None:
        try:
            domain = normalise_domain(self.cleaned_data["domain"] or "")
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        if domain in FREE_MAIL:
            raise forms.ValidationError(_("At this domain everybody may have an address; it is no company's."))
        return domain or None


@admin.register(Company)
class CompanyAdmin(admin.ModelAdmin):
    form = CompanyForm
    list_display = ["name", "domain", "country", "employees", "industry", "people", "seen"]
    search_fields = ["name", "domain"]
    fields = ["name", "domain", "country", "employees", "industry", "attributes"]
    list_per_page = 50
    paginator = EstimatingPaginator
    show_full_result_count = False
    change_form_template = "contacts/company_change_form.html"

    @admin.display(description=gettext_lazy("people"))
    def people(self, company: Company) -> int:
        return company.people_count  # type: ignore[attr-defined]

    @admin.display(description=gettext_lazy("last seen"))
    def seen(self, company: Company) -> Any:
        return company.seen_at  # type: ignore[attr-defined]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Company]:
        rows = super().get_queryset(request).filter(merged_into=None)
        living = Q(contacts__merged_into=None, contacts__erased_at=None)
        return rows.annotate(
            people_count=Count("contacts", filter=living), seen_at=Max("contacts__last_seen_at", filter=living)
        )

    def get_form(self, request, obj=None, change=False, **kwargs):
        kwargs["field_classes"] = {"attributes": JSONText}
        widgets = {name: AdminTextInputWidget for name in self.fields[:5] if name != "employees"}
        return super().get_form(request, obj, change, widgets=widgets, **kwargs)

    def get_urls(self):
        merging = self.admin_site.admin_view(self.merge_view)
        return [path("<int:company_id>/merge/", merging, name="contacts_company_merge"), *super().get_urls()]

    def save_model(self, request, obj, form, change):
        obj.updated_at = timezone.now()
        if "domain" in form.changed_data:
            obj.is_joined = False  # people with an address there are asked in by the next tick
        super().save_model(request, obj, form, change)
        # No single contact tells of it, so segments that ask about companies look again.
        segments.ask_again_readers_of("company.")

    def change_view(self, request, object_id, form_url="", extra_context=None):
        company = self.get_object(request, object_id)
        if company is not None and self.has_view_or_change_permission(request, company):
            extra_context = {**(extra_context or {}), **_around(company, request)}
        return super().change_view(request, object_id, form_url, extra_context)

    def merge_view(self, request: HttpRequest, company_id: int) -> HttpResponse:
        """GET finds the other company (`q`) and asks (`other`); POST moves its people into this one."""
        if not (self.has_change_permission(request) and self.has_delete_permission(request)):
            raise PermissionDenied
        rows = self.get_queryset(request)
        company = rows.filter(pk=company_id).first()
        if company is None:
            raise Http404
        told = (request.POST if request.method == "POST" else request.GET).get("other", "")
        other = rows.filter(pk=int(told)).first() if told.isdecimal() and len(told) < 19 else None
        if told and other is None:
            messages.error(request, _("There is no such company."))
        if request.method == "POST" and other is not None:
            try:
                companies.merge_companies(survivor=company, loser=other, now=timezone.now())
            except ValueError as error:
                messages.error(request, str(error))
                return HttpResponseRedirect(request.path)
            self.log_change(request, company, f"{other.name} → {company.name}")
            messages.success(request, _("“%(name)s” is part of this company now.") % {"name": other.name})
            return HttpResponseRedirect(reverse("admin:contacts_company_change", args=[company.pk]))
        words = request.GET.get("q", "").strip()
        found = rows.exclude(pk=company.pk)
        found = found.filter(Q(name__icontains=words) | Q(domain__icontains=words)) if words else found.none()
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Merge another company into %(name)s") % {"name": company.name},
            "company": company,
            "other": other,
            "words": words,
            "candidates": found.order_by("name")[:20],
        }
        return TemplateResponse(request, "contacts/company_merge.html", context)


def _around(company: Company, request: HttpRequest) -> dict[str, Any]:
    """What stands around the form: its people, what they did, and their story."""
    people = companies.people_of(company).filter(pk__in=Contact.objects.visible_to(request.user).values("pk"))
    shown = list(people[: _MOST_SHOWN + 1])
    ids = [one.pk for one in shown[:_MOST_SHOWN]]
    return {
        "people": shown[:_MOST_SHOWN],
        "has_more_people": len(shown) > _MOST_SHOWN,
        "activity": companies.activity(company, now=timezone.now()),
        "story": timeline.page_of(ids, before=request.GET.get("before", "")),
        "is_earlier": "before" in request.GET,
        "may_merge": request.user.has_perms(["contacts.change_company", "contacts.delete_company"]),
    }
