"""The sales workspace: a page for each lead, and one address for each move."""

from django.urls import path

from leads import alert_views, task_views, views

app_name = "sales"

urlpatterns = [
    path("sales/", views.inbox, name="inbox"),
    path("sales/tasks/", task_views.tasks, name="tasks"),
    path("sales/tasks/<int:pk>/done/", task_views.done, name="task_done"),
    path("sales/tasks/<int:pk>/reopen/", task_views.reopen, name="task_reopen"),
    path("sales/alerts/", alert_views.alerts, name="alerts"),
    path("sales/<int:pk>/", views.lead, name="lead"),
    path("sales/<int:pk>/claim/", views.claim, name="claim"),
    path("sales/<int:pk>/release/", views.release, name="release"),
    path("sales/<int:pk>/accept/", views.accept, name="accept"),
    path("sales/<int:pk>/reject/", views.reject, name="reject"),
    path("sales/<int:pk>/convert/", views.convert, name="convert"),
]
