"""Every address of the house; each app brings its own."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView
from rest_framework.permissions import AllowAny
from rest_framework.routers import SimpleRouter

import campaigns.api
import contacts.api
import growth.api
import leads.api
import messaging.api
import scoring.api
from journey_crm.apidocs import docs
from leads import loop_views

router = SimpleRouter()
for api in (contacts.api, scoring.api, messaging.api, growth.api, leads.api, campaigns.api):
    for prefix, viewset in api.ROUTES.items():
        router.register(prefix, viewset, basename=prefix)

urlpatterns = [
    path("", include("journey_crm.pages")),
    path("", include("contacts.urls")),
    path("", include("messaging.urls")),
    path("", include("leads.urls")),
    path("", include("campaigns.urls")),
    path("", include("insights.urls")),
    path("admin/closed-loop/", loop_views.report, name="closed-loop"),
    path("admin/closed-loop.csv", loop_views.report_file, name="closed-loop-file"),
    path("admin/", admin.site.urls),
    # The description of the API is public; what it describes is not.
    path("api/schema/", SpectacularAPIView.as_view(permission_classes=[AllowAny]), name="schema"),
    path("api/docs/", docs, name="api-docs"),
    path("api/v1/", include(router.urls)),
]

# A client of the API gets a problem document, people get a page.
handler404 = "contacts.problems.not_found"
handler500 = "contacts.problems.server_error"
