"""What a user wants to be told of leads by mail: a small page of the sales workspace."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from leads.alerts import preference_of
from leads.models import AlertPreference, SalesMail

SHOWN = 10


class PreferenceForm(forms.ModelForm):
    class Meta:
        model = AlertPreference
        fields = ["hot", "at_night", "is_for_all", "digest", "language"]
        widgets = {"hot": forms.RadioSelect}
        help_texts = {
            "at_night": gettext_lazy("Else a mail waits until your work begins."),
            "is_for_all": gettext_lazy("Where no rep has a lead yet and it is of no team."),
            "digest": gettext_lazy("At the start of your working day, if there is something to say."),
        }


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def alerts(request: HttpRequest) -> HttpResponse:
    """Shows and keeps what this user is told, with the latest mails to them."""
    user: Any = request.user
    if not (user.has_perm("leads.work_lead") or user.has_perm("leads.view_lead")):
        raise PermissionDenied(_("You do not work on leads."))
    kept = preference_of(user)
    if kept.pk is None:
        # The language in which they read this page is what they would choose.
        kept.language = (get_language() or kept.language).partition("-")[0]
    form = PreferenceForm(request.POST if request.method == "POST" else None, instance=kept)
    if request.method == "POST" and form.is_valid():
        AlertPreference.objects.update_or_create(user=user, defaults=form.cleaned_data)
        messages.success(request, _("From now on you are told so."))
        return HttpResponseRedirect(reverse("sales:alerts"))
    mails = SalesMail.objects.filter(user=user).select_related("alert__lead__contact").order_by("-due_at", "-pk")
    context = {"title": _("Alerts"), "form": form, "mails": mails[:SHOWN], "now": timezone.now()}
    return render(request, "leads/alerts.html", context, status=200 if not form.errors else 422)
