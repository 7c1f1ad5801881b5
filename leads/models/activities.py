"""What reps did with a lead: notes and calls as they wrote them, and every move with the way back."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from contacts.models import Contact
from leads.models.leads import Lead


class ActivityQuerySet(models.QuerySet):
    def visible_to(self, user):
        """Those of the leads that a user sees."""
        return self.filter(lead__in=Lead.objects.visible_to(user).values("pk"))


class Activity(models.Model):
    """A note, or a call with its outcome."""

    KINDS = [("note", pgettext_lazy("activity", "note")), ("call", pgettext_lazy("activity", "call"))]
    OUTCOMES = [
        ("reached", _("reached")),
        ("no_answer", _("no answer")),
        ("wrong_number", _("wrong number")),
        ("call_back", _("call back")),
    ]
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="+", verbose_name=_("contact"))
    # Without a foreign key in the database: of two people who are merged, one lead goes and may come back.
    lead = models.ForeignKey(
        Lead, models.CASCADE, related_name="activities", db_constraint=False, verbose_name=_("lead")
    )
    # The lead that it was of before that one gave way in a merge.
    former_lead = models.BigIntegerField(null=True, editable=False)
    kind = models.TextField(_("kind"), choices=KINDS)
    outcome = models.TextField(_("outcome"), choices=OUTCOMES, blank=True, default="")
    body = models.TextField(_("text"), blank=True, default="")
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("by")
    )
    at = models.DateTimeField(_("when"))
    edited_at = models.DateTimeField(_("edited"), null=True, blank=True)

    objects = ActivityQuerySet.as_manager()

    class Meta:
        verbose_name = _("activity")
        verbose_name_plural = _("activities")
        ordering = ["-at", "-pk"]
        constraints = [
            models.CheckConstraint(
                name="a_call_has_an_outcome_and_a_note_a_text",
                condition=(Q(kind="call") & ~Q(outcome="")) | (Q(kind="note", outcome="") & ~Q(body="")),
            ),
        ]

    def __str__(self):
        return self.body or self.get_outcome_display()


class LeadMove(models.Model):
    """One move of a lead: who made it, what it changed, and whether it was undone.

    What rejects or converts a lead is told to the stream only when nobody can slip back any more: at `tells_at`.
    """

    contact = models.ForeignKey(Contact, models.CASCADE, related_name="+", verbose_name=_("contact"))
    lead = models.ForeignKey(Lead, models.CASCADE, related_name="moves", db_constraint=False, verbose_name=_("lead"))
    kind = models.TextField(_("kind"))
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("by"))
    at = models.DateTimeField(_("when"))
    source = models.TextField(_("source"), default="sales")
    # The columns that it changed, as they were and as it left them; `beside` is what it made beside the lead.
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    beside = models.JSONField(default=dict)
    told = models.JSONField(default=dict)
    tells_at = models.DateTimeField(null=True)
    told_at = models.DateTimeField(null=True)
    undone_at = models.DateTimeField(_("undone"), null=True)

    class Meta:
        verbose_name = _("move of a lead")
        verbose_name_plural = _("moves of leads")
        ordering = ["-pk"]
        indexes = [
            models.Index(
                fields=["tells_at"], name="move_untold",
                condition=Q(tells_at__isnull=False, told_at=None, undone_at=None),
            ),
        ]  # fmt: skip
        constraints = [
            models.CheckConstraint(
                name="what_was_told_is_not_undone",
                condition=Q(undone_at=None) | Q(told_at=None) | Q(tells_at=None),
            ),
        ]

    def __str__(self):
        return self.kind
