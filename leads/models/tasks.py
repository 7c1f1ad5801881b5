"""What people shall do for contacts, because a journey asked for it or a rep did."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from contacts.models import Contact
from leads.models.teams import Team


class TaskQuerySet(models.QuerySet):
    def open(self):
        return self.filter(state="open")

    def soonest(self):
        """By when they are due; what has no date comes last."""
        return self.order_by(F("due_at").asc(nulls_last=True), "pk")

    def visible_to(self, user):
        """All for who may see all tasks; for a rep his own, his teams' and nobody's; else none."""
        if not user.is_active:
            return self.none()
        if user.has_perm("leads.view_task"):
            return self
        if user.has_perm("leads.work_lead"):
            teams = Team.objects.filter(reps=user)
            free = Q(assignee=None) & (Q(team=None) | Q(team__in=teams))
            return self.filter(Q(assignee=user) | free)
        return self.none()


class Task(models.Model):
    """Something that a person shall do for a contact: open → done, or dropped."""

    STATES = [("open", pgettext_lazy("task", "open")), ("done", _("done")), ("dropped", _("dropped"))]
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="tasks", verbose_name=_("contact"))
    title = models.TextField(_("title"))
    state = models.TextField(_("state"), choices=STATES, default="open")
    team = models.ForeignKey(Team, models.SET_NULL, null=True, blank=True, related_name="tasks", verbose_name=_("team"))
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="tasks",
        verbose_name=_("whose"),
    )  # fmt: skip
    due_at = models.DateTimeField(_("due"), null=True, blank=True)
    # What asked for it: "journey:trial-onboarding", or a rep; its enrolment and the touchpoint are plain ids.
    source = models.TextField(_("source"), default="", blank=True)
    enrolment_id = models.BigIntegerField(null=True, editable=False)
    touchpoint_id = models.BigIntegerField(unique=True, null=True, editable=False)
    created_at = models.DateTimeField(_("since"))
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("asked by")
    )
    done_at = models.DateTimeField(_("done"), null=True, blank=True)
    done_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("done by")
    )
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = TaskQuerySet.as_manager()

    class Meta:
        verbose_name = _("task")
        verbose_name_plural = _("tasks")
        ordering = ["-created_at", "-pk"]
        indexes = [
            models.Index(fields=["state", "assignee", "due_at"], name="task_list"),
            models.Index(fields=["enrolment_id"], name="task_enrolment", condition=Q(state="open")),
        ]
        constraints = [
            models.CheckConstraint(
                name="a_done_task_has_its_moment",
                condition=Q(state="done", done_at__isnull=False) | (~Q(state="done") & Q(done_at=None, done_by=None)),
            ),
        ]

    def __str__(self):
        return self.title
