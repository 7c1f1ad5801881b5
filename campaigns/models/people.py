"""Who is, or was, on a journey: where each stands, which way they came, what they reached."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from campaigns.models.journeys import Journey, JourneyVersion
from campaigns.models.sendouts import Sendout
from contacts.models import Contact


class Enrolment(models.Model):
    """One person on one journey, once."""

    STATES = [("open", _("under way")), ("finished", _("finished")), ("exited", _("left"))]
    REASONS = [
        ("end", _("reached the end")),
        ("exit", _("a step ended it")),
        ("goal", _("reached the goal")),
        ("activated", _("reached all milestones")),
        ("timed_out", _("was not activated in time")),
        ("exit_rule", _("the exit rule held")),
        ("left_audience", _("left the audience")),
        ("consent_lost", _("consent lost")),
        ("not_sent", _("a message could not be sent")),
        ("erased", _("erased or suppressed")),
        ("merged", _("merged into another contact")),
        ("moved", _("moved by hand")),
        ("archived", _("the journey was archived")),
        ("published", _("a new version took them out")),
        ("exhausted", _("nothing was left for the person")),
    ]
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="enrolments", verbose_name=_("contact"))
    journey = models.ForeignKey(Journey, models.CASCADE, related_name="enrolments", verbose_name=_("journey"))
    version = models.ForeignKey(JourneyVersion, models.PROTECT, related_name="enrolments", verbose_name=_("version"))
    # Which occasion of a `per_key` journey this is: an order's number; of a broadcast, its moment; else empty.
    entry_key = models.TextField(default="", db_default="")
    # Of broadcasts only.
    sendout = models.ForeignKey(Sendout, models.CASCADE, null=True, related_name="enrolments", db_index=False)
    state = models.TextField(_("state"), choices=STATES, default="open", db_default="open")
    exit_reason = models.TextField(_("left because"), choices=REASONS, default="", db_default="", blank=True)
    is_ghost = models.BooleanField(_("held out"), default=False, db_default=False)
    enrolled_at = models.DateTimeField(_("entered"))
    ended_at = models.DateTimeField(_("ended"), null=True)
    goal_at = models.DateTimeField(_("goal reached"), null=True)
    # When the first message of this enrolment left: what comes after may be its effect.
    exposed_at = models.DateTimeField(_("first message"), null=True)
    # The touchpoint that brought the person in; per event, so that one event enrols once.
    touchpoint_id = models.BigIntegerField(null=True)
    # Nurture tracks with streams take turns: a person is under way in one, others stand still (`campaigns.nurture`).
    is_marketing_track = models.BooleanField(default=False, db_default=False)
    superseded_at = models.DateTimeField(_("gave way"), null=True)
    # To which enrolment it gave way; empty while that is not decided yet.
    superseded_by = models.ForeignKey(
        "self", models.SET_NULL, null=True, related_name="+", db_index=False, verbose_name=_("gave way to")
    )
    # When the person came over the line of a score again, while on this track.
    re_engaged_at = models.DateTimeField(_("re-engaged"), null=True)

    class Meta:
        verbose_name = _("enrolment")
        verbose_name_plural = _("enrolments")
        constraints = [
            models.UniqueConstraint(
                name="one_open_enrolment", fields=["contact", "journey", "entry_key"], condition=Q(state="open")
            ),
            models.UniqueConstraint(
                name="one_track_at_a_time",
                fields=["contact"],
                condition=Q(state="open", is_marketing_track=True, superseded_at=None),
            ),
            models.CheckConstraint(
                name="who_gave_way_says_when", condition=Q(superseded_by=None) | Q(superseded_at__isnull=False)
            ),
            models.CheckConstraint(
                name="an_ended_enrolment_says_why",
                condition=Q(state="open", exit_reason="", ended_at=None)
                | (~Q(state="open") & ~Q(exit_reason="") & Q(ended_at__isnull=False)),
            ),
        ]
        indexes = [
            models.Index(fields=["journey", "state"], name="enrolment_journey"),
            models.Index(fields=["contact", "journey"], name="enrolment_contact"),
            models.Index(
                fields=["superseded_by"], name="enrolment_superseded_by", condition=Q(superseded_by__isnull=False)
            ),
            models.Index(
                fields=["contact"],
                name="enrolment_undecided",
                condition=Q(state="open", is_marketing_track=True, superseded_at__isnull=False, superseded_by=None),
            ),
            models.Index(fields=["sendout", "state"], name="enrolment_sendout", condition=Q(sendout__isnull=False)),
        ]


class Due(models.Model):
    """The token of an open enrolment: at which node it stands and when it wakes.

    Narrow on purpose, and moved by delete and insert: updating wide indexed rows costs twice as much.
    """

    enrolment = models.ForeignKey(Enrolment, models.CASCADE, related_name="tokens", db_constraint=False)
    contact_id = models.BigIntegerField()
    node_id = models.BigIntegerField()
    node_kind = models.TextField()
    # When the token came to this node, when it wakes, and which round it is on: a jump back begins the next.
    entered_at = models.DateTimeField()
    due_at = models.DateTimeField()
    visit = models.PositiveIntegerField(default=1, db_default=1)
    # Kept here too, so that moving people needs no look at their enrolments.
    is_ghost = models.BooleanField(default=False, db_default=False)

    class Meta:
        indexes = [models.Index(fields=["node_kind", "due_at"], name="due_kind")]


class Visit(models.Model):
    """The path of an enrolment, append-only: it left this node at this time by this exit, for this reason."""

    enrolment = models.ForeignKey(Enrolment, models.CASCADE, related_name="visits", db_constraint=False, db_index=False)
    node_id = models.BigIntegerField()
    visit = models.PositiveIntegerField(default=1, db_default=1)
    entered_at = models.DateTimeField()
    left_at = models.DateTimeField()
    outcome = models.TextField(default="", db_default="")
    # What the step decided by, as plain values: the answer of each branch, the bucket drawn, the message's end.
    inputs = models.JSONField(null=True)

    class Meta:
        indexes = [models.Index(fields=["enrolment", "id"], name="visit_enrolment")]


class Behind(models.Model):
    """A step ahead of somebody who was moved to a version, which she did in another one: she passes it by."""

    enrolment = models.ForeignKey(Enrolment, models.CASCADE, related_name="+", db_constraint=False, db_index=False)
    node_id = models.BigIntegerField()
    visit = models.PositiveIntegerField()
    # By which way out: the one of then.
    outcome = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(name="behind_once", fields=["enrolment", "node_id", "visit"])]


class Achievement(models.Model):
    """Something an enrolment reached, once: a goal or a milestone, with the touchpoint that shows it."""

    KINDS = [("goal", _("goal")), ("milestone", _("milestone"))]
    enrolment = models.ForeignKey(Enrolment, models.CASCADE, related_name="achievements", verbose_name=_("enrolment"))
    kind = models.TextField(_("kind"), choices=KINDS)
    # Of a milestone or a secondary goal; empty for the journey's own goal.
    key = models.TextField(_("key"), default="", db_default="")
    reached_at = models.DateTimeField(_("reached"))
    touchpoint_id = models.BigIntegerField(null=True)
    # A goal may be worth something; in the currency of the order, else of the house.
    value = models.DecimalField(_("value"), max_digits=14, decimal_places=2, null=True)
    # Within the goal's window after the first message left, and not only after the enrolment.
    is_after_exposure = models.BooleanField(_("after a message"), default=False, db_default=False)

    class Meta:
        verbose_name = _("achievement")
        verbose_name_plural = _("achievements")
        constraints = [models.UniqueConstraint(name="reached_once", fields=["enrolment", "kind", "key"])]
        indexes = [models.Index(fields=["kind", "key", "reached_at"], name="achievement_kind")]


class Watch(models.Model):
    """What the clock is watched for in an open onboarding sequence: that somebody stalls, or that the time is up."""

    enrolment = models.ForeignKey(Enrolment, models.CASCADE, related_name="watches", db_index=False)
    # When nobody has got on for too long; null once there is nothing left to do about it.
    stalls_at = models.DateTimeField(null=True)
    nudged_at = models.DateTimeField(null=True)
    asked_at = models.DateTimeField(null=True)
    ends_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(name="watched_once", fields=["enrolment"])]
        indexes = [
            models.Index(fields=["stalls_at"], name="watch_stalls", condition=Q(stalls_at__isnull=False)),
            models.Index(fields=["ends_at"], name="watch_ends", condition=Q(ends_at__isnull=False)),
        ]
