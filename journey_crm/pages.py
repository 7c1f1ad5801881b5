"""The few pages that belong to no app: home, health, language."""

from django.urls import include, path
from django.views.generic import RedirectView

from journey_crm.health import health

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/"), name="root"),
    path("health/", health, name="health"),
    path("i18n/", include("django.conf.urls.i18n")),
]
