"""The sales workspace: a page for each lead, and one address for each move."""

from django.urls import path

from leads import alert_views, move_views, task_views, views

app_name = "sales"

urlpatterns = [
    path("sales/", views.inbox, name="inbox"),
    path("sales/live/", views.live, name="live"),
    path("sales/tasks/", task_views.tasks, name="tasks"),
    path("sales/tasks/<int:pk>/done/", task_views.done, name="task_done"),
    path("sales/tasks/<int:pk>/reopen/", task_views.reopen, name="task_reopen"),
    path("sales/alerts/", alert_views.alerts, name="alerts"),
    path("sales/<int:pk>/", views.lead, name="lead"),
    path("sales/<int:pk>/panes/", views.panes, name="panes"),
    path("sales/<int:pk>/claim/", move_views.claim, name="claim"),
    path("sales/<int:pk>/release/", move_views.release, name="release"),
    path("sales/<int:pk>/accept/", move_views.accept, name="accept"),
    path("sales/<int:pk>/assign/", move_views.assign, name="assign"),
    path("sales/<int:pk>/call/", move_views.call, name="call"),
    path("sales/<int:pk>/note/", move_views.note, name="note"),
    path("sales/<int:pk>/snooze/", move_views.snooze, name="snooze"),
    path("sales/<int:pk>/wake/", move_views.wake, name="wake"),
    path("sales/<int:pk>/task/", move_views.task, name="task"),
    path("sales/<int:pk>/hold/", move_views.hold, name="hold"),
    path("sales/<int:pk>/unhold/", move_views.unhold, name="unhold"),
    path("sales/<int:pk>/reject/", move_views.reject, name="reject"),
    path("sales/<int:pk>/convert/", move_views.convert, name="convert"),
    path("sales/<int:pk>/undo/", move_views.undo, name="undo"),
]
