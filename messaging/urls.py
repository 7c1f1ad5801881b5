from django.urls import path

from messaging import hooks, onsite_views, preferences, signup_views, views

urlpatterns = [
    path("t/c/<str:token>", views.click, name="click"),
    path("t/l/<str:token>", views.click, name="hidden-link"),
    path("t/o/<str:token>.gif", views.opened, name="open"),
    path("u/<str:token>/", preferences.unsubscribe, name="unsubscribe"),
    path("p/<str:token>/", preferences.preferences, name="preferences"),
    path("f/<slug:key>/", signup_views.form, name="signup-form"),
    path("hooks/bounces/", hooks.bounces, name="hook-bounces"),
    path("hooks/esp/<slug:provider>/", hooks.esp, name="hook-esp"),
    path("v1/onsite", onsite_views.next_message, name="onsite"),
    path("v1/onsite/shown", onsite_views.told, {"event": "shown"}, name="onsite-shown"),
    path("v1/onsite/dismissed", onsite_views.told, {"event": "dismissed"}, name="onsite-dismissed"),
    path("confirm/<str:token>/", signup_views.confirm, name="confirm"),
]
