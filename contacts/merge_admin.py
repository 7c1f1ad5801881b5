"""The screens of merges: “Merge with…” of a contact, with a look at what it would do, and the log with its way back."""

from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts import merging, unmerging
from contacts.finding import find_contact
from contacts.merge_preview import preview, sentence
from contacts.models import Consent, Contact, Merge
from contacts.searching import EstimatingPaginator, by_name

# Reasons that our own parts give, in words.
_REASONS = {
    "ids": gettext_lazy("Both were named in one event"),
    "rest": gettext_lazy("By REST"),
    "admin": gettext_lazy("By hand"),
}
_MOST_FOUND = 20


def may_merge(user: Any) -> bool:
    """One contact ends by it, so it needs both rights."""
    return user.has_perm("contacts.change_contact") and user.has_perm("contacts.delete_contact")


def merge_view(request: HttpRequest, contact_id: int) -> HttpResponse:
    """GET finds the other contact (`q`) and shows what a merge with it (`other`) would do; POST merges."""
    if not may_merge(request.user):
        raise PermissionDenied
    visible = Contact.objects.living().visible_to(request.user)
    contact = visible.filter(pk=contact_id).first()
    if contact is None:
        raise Http404
    told = (request.POST if request.method == "POST" else request.GET).get("other", "")
    other = visible.filter(pk=int(told)).first() if told.isdecimal() and len(told) < 19 else None
    if told and other is None:
        messages.error(request, _("There is no such contact."))
    if request.method == "POST" and other is not None:
        return _merge(request, contact, other)
    found = None
    if other is not None:
        try:
            found = preview(contact, other, now=timezone.now())
        except ValueError as error:
            messages.error(request, str(error))
    words = request.GET.get("q", "").strip()
    context = {
        **admin.site.each_context(request),
        "opts": Contact._meta,
        "title": _("Merge %(name)s with…") % {"name": contact.name},
        "contact": contact,
        "words": words,
        "is_searched": "q" in request.GET,
        "candidates": [] if found else _candidates(contact, visible, words),
        "preview": found,
        "sentence": found and sentence(found),
        "consents": found and _said(found),
    }
    return TemplateResponse(request, "contacts/merge.html", context)


def _merge(request: HttpRequest, contact: Contact, other: Contact) -> HttpResponse:
    survivor, loser = merging.older(contact, other)
    reason = request.POST.get("reason", "").strip()[:200] or "admin"
    try:
        log = merging.merge(survivor=survivor, loser=loser, reason=reason, by=request.user, now=timezone.now())
    except ValueError as error:
        messages.error(request, str(error))
        return HttpResponseRedirect(reverse("admin:contacts_contact_merge", args=[contact.pk]))
    told = _("The two are one contact now. {}")
    page = reverse("admin:contacts_merge_change", args=[log.pk])
    link = format_html('<a href="{}">{}</a>', page, _("Look at the merge, or undo it."))
    messages.success(request, format_html(told, link))
    return HttpResponseRedirect(reverse("admin:contacts_contact_change", args=[survivor.pk]))


def _candidates(contact: Contact, visible: QuerySet[Contact], words: str) -> list[Contact]:
    """Whom the words find; without words, who has the same name or telephone."""
    others = visible.exclude(pk=contact.pk).select_related("company")
    if words:
        found = list(by_name(others, words).order_by("-updated_at")[:_MOST_FOUND])
        try:
            exact = find_contact(words)
        except Contact.DoesNotExist:
            return found
        is_new = exact.pk not in {contact.pk, *(one.pk for one in found)}
        return [exact, *found] if is_new and visible.filter(pk=exact.pk).exists() else found
    alike: list[Contact] = []
    if contact.first_name and contact.last_name:
        alike += by_name(others, f"{contact.first_name} {contact.last_name}").order_by("-updated_at")[:_MOST_FOUND]
    return alike


def _said(found) -> list[dict[str, str]]:
    words = {**dict(Consent.STATES), "": "–"}
    return [
        {
            "what": f"{one.topic or '*'} · {one.channel}",
            **{name: str(words[getattr(one, name)]) for name in ("survivor", "loser", "result")},
            "css": {"granted": "is-good", "denied": "is-bad"}.get(one.result, "is-warn"),
        }
        for one in found.consents
    ]


@admin.register(Merge)
class MergeAdmin(admin.ModelAdmin):
    """Who went into whom, when, why and by whom."""

    why_empty = gettext_lazy(
        "When two contacts turn out to be one person and become one, the merge is written down here, and can be undone."
    )
    list_display = ["who", "into", "why", "merged_at", "merged_by", "now"]
    list_select_related = ["survivor", "loser", "merged_by", "undone_by"]
    list_filter = [("undone_at", admin.EmptyFieldListFilter)]
    search_fields = ["reason"]  # switches the search box on; `get_search_results` does the search
    search_help_text = gettext_lazy("First name, last name or e-mail of who stayed")
    ordering = ["-pk"]
    sortable_by = ()
    list_per_page = 50
    paginator = EstimatingPaginator
    show_full_result_count = False
    change_form_template = "contacts/merge_change_form.html"
    fields = ["who", "into", "why", "merged_at", "merged_by", "now"]

    @admin.display(description=gettext_lazy("who went into it"))
    def who(self, merge: Merge) -> str:
        was = merge.before.get("contact", {})
        name = f"{was.get('first_name', '')} {was.get('last_name', '')}".strip() or was.get("email", "")
        return name or _("Visitor %(id)s") % {"id": merge.loser_id}

    @admin.display(description=gettext_lazy("who stayed"))
    def into(self, merge: Merge) -> str:
        return merge.survivor.name

    @admin.display(description=gettext_lazy("reason"))
    def why(self, merge: Merge) -> str:
        return str(_REASONS.get(merge.reason, merge.reason))

    @admin.display(description=gettext_lazy("now"))
    def now(self, merge: Merge) -> str:
        if not merge.undone_at:
            return format_html('<span class="chip">{}</span>', _("one contact"))
        return format_html('<span class="chip is-warn">{}</span>', _("undone"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Merge]:
        rows = super().get_queryset(request)
        if request.user.has_perm("contacts.view_contact"):
            return rows
        return rows.filter(survivor__in=Contact.objects.visible_to(request.user))

    def get_search_results(self, request, queryset, search_term):
        return queryset.filter(survivor__in=by_name(Contact.objects.all(), search_term)), False

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    def get_urls(self):
        undo = path("<int:merge_id>/undo/", self.admin_site.admin_view(self.undo_view), name="contacts_merge_undo")
        return [undo, *super().get_urls()]

    def change_view(self, request, object_id, form_url="", extra_context=None):
        merge = self.get_object(request, object_id)
        if merge is not None and self.has_view_permission(request, merge):
            extra_context = {
                **(extra_context or {}),
                "title": str(self.who(merge)) + " → " + merge.survivor.name,
                "why_not": unmerging.why_not(merge),
                "may_undo": may_merge(request.user),
                "rows": _rows(merge),
                "handles": merge.before.get("identities", []),
                "people": [
                    one for one in (merge.survivor, merge.loser) if not (one.merged_into_id or one.erased_at)
                ],
            }  # fmt: skip
        return super().change_view(request, object_id, form_url, extra_context)

    def undo_view(self, request: HttpRequest, merge_id: int) -> HttpResponse:
        """Takes the merge back: by POST only."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        merge = self.get_queryset(request).filter(pk=merge_id).first()
        if merge is None:
            raise Http404
        if not (may_merge(request.user) and self.has_view_permission(request, merge)):
            raise PermissionDenied
        try:
            unmerging.unmerge(merge, by=request.user, now=timezone.now())
            messages.success(request, _("They are two contacts again."))
        except ValueError as error:
            messages.error(request, str(error))
        return HttpResponseRedirect(reverse("admin:contacts_merge_change", args=[merge_id]))


def _rows(merge: Merge) -> list[dict[str, Any]]:
    """How many rows of which kind moved and how many gave way, as the log has them."""
    names = {model._meta.db_table: str(model._meta.verbose_name_plural) for model in apps.get_models()}
    counted: dict[str, dict[str, Any]] = {}
    for table, column, keys in merge.entries.values_list("table_name", "column_name", "keys"):
        row = counted.setdefault(table, {"label": names.get(table, table), "moves": 0, "drops": 0})
        row["moves" if column else "drops"] += len(keys) if column else 1
    return sorted(counted.values(), key=lambda row: row["label"])
