"""The screens of people, companies, touchpoints, custom fields, tokens and imports."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from contacts import beside, timeline
from contacts.export_admin import export_selected, may_export
from contacts.fieldforms import PREFIX, own_fields
from contacts.forms import ContactForm, TokenForm
from contacts.merge_admin import may_merge, merge_view
from contacts.models import ApiToken, Contact, Field, Touchpoint
from contacts.privacy_admin import erase_view, person_view, proof_view
from contacts.searching import EstimatingPaginator, by_name
from contacts.segment_filter import SegmentFilter
from contacts.tokens import issue

_STAGE_COLOURS = {
    "visitor": "", "known": "is-info", "lead": "is-violet", "qualified": "is-warn", "customer": "is-good",
    "ambassador": "is-teal", "disqualified": "is-bad", "churned": "is-bad",
}  # fmt: skip


def stage_chip(contact: Contact) -> str:
    """The stage as a coloured chip."""
    return format_html('<span class="chip {}">{}</span>', _STAGE_COLOURS[contact.stage], contact.get_stage_display())


def contact_link(contact: Contact) -> str:
    """The name, leading to the contact's page."""
    return format_html('<a href="{}">{}</a>', reverse("admin:contacts_contact_change", args=[contact.pk]), contact.name)


@admin.register(Contact)
class ContactAdmin(admin.ModelAdmin):
    form = ContactForm
    list_display = ["name", "email", "stage_now", "company", "owner", "last_seen_at"]
    list_filter = ["stage", SegmentFilter]
    list_select_related = ["company", "owner"]
    list_per_page = 50
    search_fields = ["email"]  # switches the search box on; `by_name` does the search
    search_help_text = gettext_lazy("First name, last name or e-mail")
    ordering = ["-updated_at", "-pk"]
    sortable_by = ()
    paginator = EstimatingPaginator
    show_full_result_count = False
    autocomplete_fields = ["company", "owner"]
    change_form_template = "contacts/contact_change_form.html"
    change_list_template = "contacts/contact_change_list.html"
    actions = [export_selected]
    fieldsets = [
        (
            None,
            {
                "fields": [
                    "email",
                    ("first_name", "last_name"),
                    "phone",
                    "company",
                    ("job_title", "company_role"),
                    "owner",
                ]
            },
        ),
        (
            gettext_lazy("Details"),
            {
                "fields": ["salutation", ("language", "country"), "timezone", "source", "attributes"],
                "classes": ["collapse"],
            },
        ),
    ]

    @admin.display(description=gettext_lazy("name"))
    def name(self, contact):
        return contact.name

    @admin.display(description=gettext_lazy("stage"))
    def stage_now(self, contact):
        return stage_chip(contact)

    def get_queryset(self, request):
        return super().get_queryset(request).living().visible_to(request.user)

    def get_search_results(self, request, queryset, search_term):
        return by_name(queryset, search_term), False

    def get_form(self, request, obj=None, change=False, **kwargs):
        own = own_fields(obj)
        kwargs["form"] = type(self.form)(self.form.__name__, (self.form,), own)
        return super().get_form(request, obj, change, **kwargs)

    def get_list_filter(self, request):
        return [*self.list_filter, *beside.filters()]

    def get_fieldsets(self, request, obj=None):
        names = [PREFIX + key for key in Field.objects.order_by("name", "key").values_list("key", flat=True)]
        own = (gettext_lazy("Custom fields"), {"fields": names, "classes": ["collapse"]})
        return [*self.fieldsets[:1], *([own] if names else []), *self.fieldsets[1:]]

    def has_delete_permission(self, request, obj=None):
        return False  # a person is erased, with proof, not deleted

    def has_export_permission(self, request):
        return may_export(request)

    def changelist_view(self, request, extra_context=None):
        may = {"may_export": may_export(request), "may_import": request.user.has_perm("contacts.add_import")}
        return super().changelist_view(request, {**(extra_context or {}), **may})

    def get_urls(self):
        merging = self.admin_site.admin_view(merge_view)
        privacy = [
            path(f"<int:contact_id>/{name}/", self.admin_site.admin_view(view), name=f"contacts_contact_{name}")
            for name, view in (("person", person_view), ("proof", proof_view), ("erase", erase_view))
        ]
        own = path("<int:contact_id>/merge/", merging, name="contacts_contact_merge")
        return [own, *privacy, *super().get_urls()]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        contact = self.get_object(request, object_id)
        if contact is not None and self.has_view_or_change_permission(request, contact):
            extra_context = {**(extra_context or {}), **_around(contact, request)}
        return super().change_view(request, object_id, form_url, extra_context)

    def save_model(self, request, obj, form, change):
        result = form.write(request.user.get_username(), timezone.now())
        for error in result["errors"]:
            messages.error(request, f"{error['field']}: {error['message']}")
        if result["id"]:
            obj.pk = result["id"]
            obj.refresh_from_db()


def _around(contact: Contact, request: HttpRequest) -> dict[str, Any]:
    """What stands around the form: stage, consents, groups, journeys and the story so far."""

    def related(name, *joins):
        # Apps above hang their rows on the contact; the page shows those that are there and that the user may see.
        rows = getattr(contact, name, None)
        if rows is None:
            return []
        options = rows.model._meta
        if not request.user.has_perm(f"{options.app_label}.view_{options.model_name}"):
            return []
        return list(rows.select_related(*joins).order_by("-pk")[:50])

    return {
        "stage_chip": stage_chip(contact),
        "may_merge": may_merge(request.user),
        "identities": contact.identities.order_by("kind", "value")[:50],
        "consents": contact.consents.order_by("topic", "channel"),
        "memberships": contact.memberships.select_related("segment").order_by("segment__name"),
        "panels": beside.panels(request, contact),
        "enrolments": related("enrolments", "journey"),
        "story": timeline.page(contact, before=request.GET.get("before", "")),
        "is_earlier": "before" in request.GET,
    }


class ReadOnlyAdmin(admin.ModelAdmin):
    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


@admin.register(Touchpoint)
class TouchpointAdmin(ReadOnlyAdmin):
    list_display = ["kind", "who", "channel", "occurred_at", "source", "is_machine"]
    list_select_related = ["contact"]
    search_fields = ["kind__exact"]
    search_help_text = gettext_lazy("A kind, such as page.viewed")
    ordering = ["-pk"]
    sortable_by = ()
    paginator = EstimatingPaginator
    show_full_result_count = False
    fields = ["kind", "who", "channel", "occurred_at", "received_at", "source", "is_machine", "properties"]

    @admin.display(description=gettext_lazy("contact"))
    def who(self, touchpoint):
        return contact_link(touchpoint.contact)

    def get_queryset(self, request):
        rows = super().get_queryset(request)
        if request.user.has_perm("contacts.view_contact"):
            return rows
        return rows.filter(contact__in=Contact.objects.visible_to(request.user))


_PARTNER = ["origin", "requests_per_minute", "rows_per_minute"]


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin):
    form = TokenForm
    list_display = ["name", "user", "prefix", "scope_list", "used_at", "expires_at", "revoked_at"]
    list_select_related = ["user"]
    actions = ["revoke"]

    @admin.display(description=pgettext_lazy("API token", "may"))
    def scope_list(self, token):
        return ", ".join(token.scopes)

    def get_queryset(self, request):
        tokens = super().get_queryset(request)
        return tokens if request.user.is_superuser else tokens.filter(user=request.user)

    def get_form(self, request, obj=None, change=False, **kwargs):
        form = super().get_form(request, obj, change, **kwargs)
        if "user" in form.base_fields and not request.user.is_superuser:
            # A token acts as its user, so nobody makes one for somebody mightier.
            form.base_fields["user"].queryset = get_user_model().objects.filter(pk=request.user.pk)
        return form

    def has_change_permission(self, request, obj=None):
        # The list and its action need it; a token itself never changes.
        return obj is None and super().has_change_permission(request)

    def has_view_permission(self, request, obj=None):
        return super().has_view_permission(request, obj) or super().has_change_permission(request, obj)

    def get_fields(self, request, obj=None):
        if obj is None:
            return ["name", "user", "scopes", "expires_at", *_PARTNER]
        return ["name", "user", "prefix", "scope_list", *_PARTNER, "created_at", "used_at", "expires_at", "revoked_at"]

    def save_model(self, request, obj, form, change):
        data = form.cleaned_data
        token, secret = issue(
            user=data["user"],
            scopes=data["scopes"],
            name=data["name"],
            now=timezone.now(),
            expires_at=data["expires_at"],
            **{name: data[name] for name in _PARTNER},
        )
        obj.__dict__.update(token.__dict__)
        messages.warning(
            request, format_html(_("This is shown once, so copy it now: {}"), format_html("<code>{}</code>", secret))
        )

    @admin.action(description=gettext_lazy("Revoke"), permissions=["change"])
    def revoke(self, request, queryset):
        count = queryset.filter(revoked_at=None).update(revoked_at=timezone.now())
        messages.success(request, _("Revoked: %(count)d.") % {"count": count})


# The other screens of this app register themselves when they are read.
from contacts import company_admin, field_admin, import_admin, segment_admin, webhook_admin  # noqa: E402, F401
