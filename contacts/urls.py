"""Public addresses of this app: tracking."""

from django.urls import path, re_path

from contacts import tracking

_calls = "|".join(tracking.CALLS)

urlpatterns = [
    # With and without the slash at the end: SDKs write both.
    re_path(rf"^v1/(?P<name>{_calls})/?$", tracking.call, name="track"),
    path("v1/projects/<str:key>/settings", tracking.project_settings, name="track-settings"),
    path("js/track.js", tracking.snippet, name="track-js"),
]
