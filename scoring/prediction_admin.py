"""The page of the prediction: how well it foretells, what weighs in it, its versions, and the two buttons."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from scoring import training
from scoring.models import ContactPrediction, PredictionModel
from scoring.prediction import weights_in_words

_MOST_WEIGHTS, _MOST_VERSIONS = 15, 30


class AskForm(forms.Form):
    """A training that is asked for."""

    days = forms.IntegerField(
        label=gettext_lazy("Becomes a customer within (days)"), min_value=7, max_value=730, initial=90
    )


@admin.register(PredictionModel)
class PredictionAdmin(admin.ModelAdmin):
    """Versions are trained and chosen, never edited; there is one page, and any version can stand on it."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: PredictionModel | None = None) -> bool:
        return False

    def get_urls(self) -> list:
        asked = self.admin_site.admin_view
        return [
            path("train/", asked(self.train), name="scoring_predictionmodel_train"),
            path("<int:pk>/choose/", asked(self.choose), name="scoring_predictionmodel_choose"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return self._page(request, PredictionModel.objects.live().first())

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        version = self.get_object(request, object_id)
        return self._page(request, version) if version else redirect("admin:scoring_predictionmodel_changelist")

    def _page(self, request: HttpRequest, version: PredictionModel | None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            return HttpResponseNotAllowed(["GET"])
        asked = PredictionModel.objects.filter(state="asked").first()
        refused = PredictionModel.objects.filter(state="refused").first()
        live = PredictionModel.objects.live().select_related("chosen_by").first()
        if version is not None and version.version is None:
            version = live
        latest = asked or refused or live
        weights = weights_in_words(version)[:_MOST_WEIGHTS] if version else []
        context = {
            **self.admin_site.each_context(request),
            "opts": PredictionModel._meta,
            "title": _("Prediction"),
            "version": version,
            "live": live,
            "asked": asked,
            "refused": refused,
            "why": training.sentence(refused.refusal) if refused else "",
            "extra": "" if training.is_installed() else training.EXTRA,
            "groups": [
                {"said": round(100 * one["foretold"]), "came": round(100 * one["came"]), "people": one["people"]}
                for one in (version.reliability if version else [])
            ],
            "weights": weights,
            "versions": PredictionModel.objects.trained().order_by("-version")[:_MOST_VERSIONS],
            "people": ContactPrediction.objects.count(),
            "form": AskForm(initial={"days": latest.window.days if latest else 90}),
            "may_change": self.has_change_permission(request),
        }
        return TemplateResponse(request, "scoring/prediction.html", context)

    def train(self, request: HttpRequest) -> HttpResponse:
        """Asks for a training; a worker does it within a minute."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        form = AskForm(request.POST)
        if form.is_valid():
            window = timedelta(days=form.cleaned_data["days"])
            training.ask(timezone.now(), window=window, by=request.user)
            messages.success(request, _("The training begins within a minute; load this page again after it."))
        else:
            messages.error(request, " ".join(f"{form['days'].label}: {error}" for error in form.errors["days"]))
        return redirect("admin:scoring_predictionmodel_changelist")

    def choose(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Puts a version to use: the way back to an older one, and forward again."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        version = get_object_or_404(PredictionModel.objects.trained(), pk=pk)
        training.choose(version, by=request.user, now=timezone.now())
        self.log_change(request, version, [{"changed": {"fields": [str(_("state"))]}}])
        messages.success(
            request, _("Version %(number)s is in use; everybody's prediction follows within a minute.")
            % {"number": version.version},
        )  # fmt: skip
        return redirect(reverse("admin:scoring_predictionmodel_changelist"))
