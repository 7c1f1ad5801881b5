"""The screens of privacy: the consent centre, the person's export and erasure with its proof, retention rules."""

from typing import Any

from django import forms
from django.apps import apps
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from contacts import retention
from contacts.consent import proof, with_words
from contacts.consent_export import as_csv
from contacts.erasure import erase, relations, traces_of
from contacts.identity import normalise
from contacts.models import Consent, ConsentChange, Contact, Erasure, RetentionRule, Wording
from contacts.person_export import as_zip, everything_about
from contacts.searching import EstimatingPaginator

STATE_COLOURS = {"granted": "is-good", "denied": "is-bad", "pending": "is-warn"}
# A file of the ledger has at most so many rows; filters make it smaller.
MOST_EXPORTED = 100_000


def _contact(request: HttpRequest, contact_id: int, permission: str) -> Contact:
    if not request.user.has_perm(permission):
        raise PermissionDenied
    contact = Contact.objects.living().visible_to(request.user).filter(pk=contact_id).first()
    if contact is None:
        raise Http404
    return contact


# Pages of a contact --------------------------------------------------------------------------------------------------


def person_view(request: HttpRequest, contact_id: int) -> HttpResponse:
    """All that is held about a person, as an archive for them."""
    contact = _contact(request, contact_id, "contacts.export_person")
    answer = HttpResponse(as_zip(everything_about(contact, timezone.now())), content_type="application/zip")
    answer["Content-Disposition"] = f'attachment; filename="person-{contact.pk}.zip"'
    answer["Cache-Control"] = "no-store"
    return answer


def proof_view(request: HttpRequest, contact_id: int) -> HttpResponse:
    """The ledger of a person's consent with its words, as CSV or JSON."""
    contact = _contact(request, contact_id, "contacts.view_consentchange")
    rows = proof(contact)
    if request.GET.get("as") == "csv":
        answer = HttpResponse(as_csv(rows), content_type="text/csv; charset=utf-8")
    else:
        answer = JsonResponse(rows, safe=False, json_dumps_params={"ensure_ascii": False, "indent": 2})
    form = "csv" if request.GET.get("as") == "csv" else "json"
    answer["Content-Disposition"] = f'attachment; filename="consent-{contact.pk}.{form}"'
    answer["Cache-Control"] = "no-store"
    return answer


def erase_view(request: HttpRequest, contact_id: int) -> HttpResponse:
    """GET shows what an erasure would take; POST, with the box ticked, erases."""
    contact = _contact(request, contact_id, "contacts.delete_contact")
    if request.method == "POST" and request.POST.get("is_sure"):
        try:
            done = erase(contact, by=request.user, now=timezone.now())
        except ValueError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, _("Contact %(id)d was erased, for good.") % {"id": contact_id})
            if done is not None and request.user.has_perm("contacts.view_erasure"):
                return HttpResponseRedirect(reverse("admin:contacts_erasure_change", args=[done.pk]))
            return HttpResponseRedirect(reverse("admin:contacts_contact_changelist"))
    traces = traces_of(contact, timezone.now())
    counts: dict[str, int] = {}
    for model, name in relations():
        label = str(model._meta.verbose_name_plural)
        rows = model._base_manager.filter(**{f"{name}__in": traces.ids}).count()
        counts[label] = counts.get(label, 0) + rows
    context = {
        **admin.site.each_context(request),
        "opts": Contact._meta,
        "title": _("Erase %(name)s") % {"name": contact.name},
        "contact": contact,
        "counts": sorted((label, rows) for label, rows in counts.items() if rows),
        "handles": len(traces.handles),
    }
    return TemplateResponse(request, "contacts/erase.html", context)


# The consent centre --------------------------------------------------------------------------------------------------


class ReadOnly(admin.ModelAdmin):
    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


class _Said(admin.SimpleListFilter):
    """The few values that a column of the consents of today has: the ledger is too long to be asked."""

    column = ""

    def lookups(self, request, model_admin):
        values = Consent.objects.order_by(self.column).values_list(self.column, flat=True).distinct()[:200]
        return [(value or "*", value or _("everything")) for value in values]

    def queryset(self, request, queryset):
        value = self.value()
        return queryset if value is None else queryset.filter(**{self.column: "" if value == "*" else value})


class TopicSaid(_Said):
    title = gettext_lazy("topic")
    parameter_name = column = "topic"


class ChannelSaid(_Said):
    title = gettext_lazy("channel")
    parameter_name = column = "channel"


class StateSaid(admin.SimpleListFilter):
    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request, model_admin):
        return Consent.STATES

    def queryset(self, request, queryset):
        return queryset.filter(state=self.value()) if self.value() in dict(Consent.STATES) else queryset


@admin.register(ConsentChange)
class ConsentCentre(ReadOnly):
    """Who said what about which topic, when, where and to which words."""

    list_display = ["changed_at", "who", "about", "channel", "state_chip", "source", "actor"]
    list_display_links = ["changed_at"]
    list_filter = [TopicSaid, ChannelSaid, StateSaid]
    list_select_related = ["contact"]
    search_fields = ["source"]
    search_help_text = gettext_lazy("E-mail address, number of the contact, or source")
    ordering = ["-pk"]
    sortable_by = ()
    paginator = EstimatingPaginator
    show_full_result_count = False
    actions = None
    change_list_template = "contacts/consent_centre.html"
    fields = [
        "changed_at", "who", "about", "channel", "state_chip", "source", "actor", "ip_address", "user_agent", "words",
    ]  # fmt: skip

    @admin.display(description=gettext_lazy("contact"))
    def who(self, change):
        url = reverse("admin:contacts_contact_change", args=[change.contact_id])
        return format_html('<a href="{}">{}</a>', url, change.contact.name)

    @admin.display(description=gettext_lazy("topic"))
    def about(self, change):
        return change.topic or _("everything")

    @admin.display(description=gettext_lazy("state"))
    def state_chip(self, change):
        return format_html(
            '<span class="chip {}">{}</span>', STATE_COLOURS.get(change.state, ""), change.get_state_display()
        )

    @admin.display(description=gettext_lazy("words that were shown"))
    def words(self, change):
        return Wording.objects.filter(digest=change.wording).values_list("words", flat=True).first() or ""

    def get_queryset(self, request):
        rows = super().get_queryset(request)
        if request.user.has_perm("contacts.view_contact"):
            return rows
        return rows.filter(contact__in=Contact.objects.visible_to(request.user))

    def get_search_results(self, request, queryset, search_term):
        term = search_term.strip()
        if term.isdecimal() and len(term) < 19:
            return queryset.filter(contact=int(term)), False
        if "@" in term:
            try:
                term = normalise("email", term)
            except ValueError:
                return queryset.none(), False
            return queryset.filter(contact__identities__kind="email", contact__identities__value=term), False
        return (queryset.filter(source=term) if term else queryset), False

    def changelist_view(self, request, extra_context=None):
        return super().changelist_view(request, {"title": _("Consent centre"), **(extra_context or {})})

    def get_urls(self):
        export = self.admin_site.admin_view(self.export)
        return [path("export/", export, name="contacts_consentchange_export"), *super().get_urls()]

    def export(self, request: HttpRequest) -> HttpResponse:
        """What the list shows, filters and search included, as CSV with the words."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = self.get_changelist_instance(request).get_queryset(request)
        rows = found.values(
            "topic", "channel", "state", "source", "wording", "actor", "ip_address", "user_agent", "changed_at",
            "contact_id",
        )[:MOST_EXPORTED]  # fmt: skip
        told = [{"contact": row.pop("contact_id"), **row} for row in with_words(rows)]
        answer = HttpResponse(as_csv(told), content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = 'attachment; filename="consents.csv"'
        answer["Cache-Control"] = "no-store"
        return answer


@admin.register(Erasure)
class ErasureAdmin(ReadOnly):
    why_empty = gettext_lazy(
        "Whoever asks to be forgotten is erased from their own page, and the proof of what went stays here without a "
        "name."
    )
    list_display = ["contact_number", "erased_at", "erased_by", "handles"]
    list_select_related = ["erased_by"]
    ordering = ["-pk"]
    actions = None
    fields = ["contact_number", "erased_at", "erased_by", "key_number", "handles", "rows"]
    change_form_template = "contacts/erasure_change_form.html"

    @admin.display(description=gettext_lazy("key of the hashes"))
    def key_number(self, erasure):
        return erasure.key_id

    @admin.display(description=gettext_lazy("what went, and what stays without a name"))
    def rows(self, erasure):
        names = {model._meta.label_lower: str(model._meta.verbose_name_plural) for model in apps.get_models()}
        lines = [
            _("%(what)s: %(removed)d removed, %(kept)d kept") % {"what": names.get(label, label), **counts}
            for label, counts in erasure.counts.items()
        ]
        return "\n".join(lines)

    def get_urls(self):
        view = self.admin_site.admin_view(self.document)
        return [path("<int:pk>/document/", view, name="contacts_erasure_document"), *super().get_urls()]

    def document(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The proof as JSON."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        erasure = Erasure.objects.select_related("erased_by").filter(pk=pk).first()
        if erasure is None:
            raise Http404
        answer = JsonResponse(erasure.document(), json_dumps_params={"indent": 2})
        answer["Content-Disposition"] = f'attachment; filename="erasure-{erasure.contact_number}.json"'
        return answer


# Retention -----------------------------------------------------------------------------------------------------------


class RetentionForm(forms.ModelForm):
    """Says what a rule would take before it is saved: only who has read that may save it."""

    is_understood = forms.BooleanField(
        label=gettext_lazy("I have read what this rule takes away; it cannot be brought back"), required=False
    )

    class Meta:
        model = RetentionRule
        fields = ["key", "kind", "channel", "days", "action", "kept_properties", "is_active"]
        widgets = {
            "kind": forms.TextInput(attrs={"class": "vTextField"}),
            "channel": forms.TextInput(attrs={"class": "vTextField"}),
            "kept_properties": forms.Textarea(attrs={"rows": 2, "class": "vLargeTextField"}),
        }

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.errors:
            return data
        data["kept_properties"] = data.get("kept_properties") or []
        told = {name: data[name] for name in ("kind", "days", "kept_properties")}
        for name, sentence in retention.problems(**told).items():
            self.add_error(name, sentence)
        if not self.errors and data["is_active"] and not data["is_understood"]:
            self.show(
                RetentionRule(
                    **{name: data[name] for name in told} | {"channel": data["channel"], "action": data["action"]}
                )
            )
        return data

    def show(self, rule: RetentionRule) -> None:
        """The dry statement; nothing to take and nobody who asks needs no tick."""
        found = retention.outlook(rule, timezone.now())
        said = []
        if found.touchpoints and found.oldest_at:
            said.append(
                ngettext(
                    "It would take %(touchpoints)d touchpoint now, of %(people)d people, the oldest of %(day)s.",
                    "It would take %(touchpoints)d touchpoints now, of %(people)d people, the oldest of %(day)s.",
                    found.touchpoints,
                )
                % {
                    "touchpoints": found.touchpoints,
                    "people": found.people,
                    "day": date_format(timezone.localtime(found.oldest_at), "DATE_FORMAT"),
                }
            )
        if found.readers:
            said.append(
                _("These look back further and will find less: %(names)s.") % {"names": ", ".join(found.readers)}
            )
        if said:
            raise ValidationError([*said, _("Tick the box at the end to save the rule all the same.")])


@admin.register(RetentionRule)
class RetentionAdmin(admin.ModelAdmin):
    form = RetentionForm
    why_empty = gettext_lazy(
        "A retention rule drops old touchpoints, such as page views after three years, so that nothing about people is "
        "kept longer than it is needed."
    )
    list_display = ["key", "kind", "channel", "days", "action", "is_active", "walked_at", "handled"]
    fields = ["key", ("kind", "channel"), ("days", "action"), "kept_properties", "is_active", "is_understood"]

    def get_readonly_fields(self, request, obj=None):
        return ["key"] if obj else []
