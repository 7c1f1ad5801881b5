"""“What would this change?” beside the form of a score: the form as it stands, weighed and not saved."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.forms import all_valid
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from scoring.models import ScoreGroup, ScoreModel, ScoreRule
from scoring.whatif import Draft, what_if


def whatif_view(request: HttpRequest, admin_of: admin.ModelAdmin) -> HttpResponse:
    """What saving the posted form would make of people, as a part of a page; 422 where it could not be saved."""
    draft, problems = draft_of(request, admin_of)
    seen = what_if(draft, request.user, timezone.now()) if draft else None
    context = {"seen": seen, "problems": problems, "draft": draft}
    return render(request, "scoring/whatif.html", context, status=200 if draft else 422)


def draft_of(request: HttpRequest, admin_of: Any) -> tuple[Draft | None, list[str]]:
    """The score of a posted form as it would be saved, and what hinders that. Raises PermissionDenied, Http404."""
    of = request.GET.get("of", "")
    stored = admin_of.get_object(request, of) if of else None
    if of and stored is None:
        raise Http404
    may = admin_of.has_change_permission(request, stored) if of else admin_of.has_add_permission(request)
    if not may:
        raise PermissionDenied
    form = admin_of.get_form(request, stored, change=bool(of))(request.POST, instance=stored)
    formsets, _inlines = admin_of._create_formsets(request, form.instance, change=bool(of))
    if not (form.is_valid() & all_valid(formsets)):
        return None, list(_problems(form, formsets))
    found: dict[type, list[Any]] = {ScoreRule: [], ScoreGroup: []}
    for formset in formsets:
        found[formset.model] += [
            one.instance
            for one in formset.forms
            if not formset._should_delete_form(one) and (one.instance.pk or one.has_changed())
        ]
    was = ScoreModel.objects.get(pk=stored.pk) if stored else None
    return Draft(form.instance, found[ScoreRule], found[ScoreGroup], was), []


def _problems(form: Any, formsets: list[Any]) -> Any:
    """What is wrong in a form and its rules, each with the label of its field."""
    for one, about in [(form, ""), *((one, str(one.instance)) for formset in formsets for one in formset.forms)]:
        for name, errors in one.errors.items():
            label = one.fields[name].label if name in one.fields else ""
            yield " · ".join(str(part) for part in (about, label, " ".join(map(str, errors))) if part)
    for formset in formsets:
        yield from map(str, formset.non_form_errors())
