"""Journeys: what is drawn, and what is live."""

from django.conf import settings
from django.db import models
from django.db.models import Q, Value
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Journey(models.Model):
    """One journey of any kind. The draft is JSON; what runs is a `JourneyVersion`."""

    KINDS = [
        ("nurture", _("nurture track")),
        ("onboarding", _("onboarding sequence")),
        ("cross_sell", _("cross-sell campaign")),
        ("broadcast", _("broadcast")),
        ("follow_up", _("event follow-up")),
        ("win_back", _("win-back")),
    ]
    STATES = [
        ("draft", _("draft")),
        ("live", _("live")),
        ("paused", _("paused")),
        # Nobody gets in any more, and whoever is inside finishes; then it is archived.
        ("closing", _("closing")),
        ("archived", _("archived")),
    ]
    key = models.SlugField(_("key"), max_length=64, unique=True)
    name = models.TextField(_("name"), blank=True, default="", max_length=200)
    kind = models.TextField(_("kind"), choices=KINDS)
    state = models.TextField(_("state"), choices=STATES, default="draft", editable=False)
    # The current draft's number; drafts are snapshots, so undo is moving this pointer.
    revision = models.PositiveIntegerField(default=0, editable=False)
    version = models.ForeignKey(
        "JourneyVersion", models.PROTECT, null=True, editable=False, related_name="+", verbose_name=_("live version")
    )
    tier = models.PositiveSmallIntegerField(_("priority tier"), default=3, help_text=_("1 goes first, 5 last"))
    paused_at = models.DateTimeField(null=True, editable=False)
    paused_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )
    # What the fuse saw when it paused the journey (see `campaigns.fuse`); null where a person did, or nobody.
    pause_reason = models.JSONField(null=True, editable=False)
    # The fuse looks at nothing before: a person who lets the journey go on arms it anew.
    armed_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("journey")
        verbose_name_plural = _("journeys")
        ordering = ["name", "key"]
        constraints = [
            models.CheckConstraint(
                name="a_live_journey_has_a_version",
                condition=~Q(state__in=["live", "paused", "closing"]) | Q(version__isnull=False),
            ),
            models.CheckConstraint(
                name="only_a_paused_journey_has_a_reason_to_be",
                condition=Q(state__in=["paused", "archived"]) | Q(pause_reason__isnull=True),
            ),
        ]
        permissions = [("publish_journey", _("Can publish, pause and resume journeys"))]

    def __str__(self):
        return self.name or self.key


class KindManager(models.Manager):
    """The journeys of one kind."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def get_queryset(self):
        return super().get_queryset().filter(kind=self.kind)


class NurtureTrack(Journey):
    objects = KindManager("nurture")  # type: ignore[misc]

    class Meta:
        proxy = True
        verbose_name = _("nurture track")
        verbose_name_plural = _("nurture tracks")


class OnboardingSequence(Journey):
    objects = KindManager("onboarding")  # type: ignore[misc]

    class Meta:
        proxy = True
        verbose_name = _("onboarding sequence")
        verbose_name_plural = _("onboarding sequences")


class CrossSellCampaign(Journey):
    objects = KindManager("cross_sell")  # type: ignore[misc]

    class Meta:
        proxy = True
        verbose_name = _("cross-sell campaign")
        verbose_name_plural = _("cross-sell campaigns")


class Broadcast(Journey):
    objects = KindManager("broadcast")  # type: ignore[misc]

    class Meta:
        proxy = True
        verbose_name = _("broadcast")
        verbose_name_plural = _("broadcasts")


class FollowUp(Journey):
    objects = KindManager("follow_up")  # type: ignore[misc]

    class Meta:
        proxy = True
        verbose_name = _("event follow-up")
        verbose_name_plural = _("event follow-ups")


class WinBack(Journey):
    objects = KindManager("win_back")  # type: ignore[misc]

    class Meta:
        proxy = True
        verbose_name = _("win-back")
        verbose_name_plural = _("win-backs")


class Draft(models.Model):
    """One snapshot of a journey being drawn; never changed."""

    journey = models.ForeignKey(Journey, models.CASCADE, related_name="drafts")
    revision = models.PositiveIntegerField()
    definition = models.JSONField()
    message = models.TextField(default="", help_text="what this edit did, as a sentence")
    made_at = models.DateTimeField()
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(name="draft_once_per_revision", fields=["journey", "revision"])]


class JourneyVersion(models.Model):
    """What was published; frozen."""

    journey = models.ForeignKey(Journey, models.CASCADE, related_name="versions", verbose_name=_("journey"))
    number = models.PositiveIntegerField(_("version"))
    definition = models.JSONField()
    published_at = models.DateTimeField(_("published"))
    published_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")
    # What the publish said of the people inside, and what it did (see `campaigns.impact`); null where nobody was.
    sheet = models.JSONField(null=True)

    class Meta:
        verbose_name = _("version")
        verbose_name_plural = _("versions")
        constraints = [models.UniqueConstraint(name="journey_version_once", fields=["journey", "number"])]

    def __str__(self):
        return f"{self.journey} v{self.number}"


class Node(models.Model):
    """One step of a version. `key` lives for ever and joins the step's statistics over versions."""

    version = models.ForeignKey(JourneyVersion, models.CASCADE, related_name="nodes")
    key = models.TextField()
    kind = models.TextField()
    config = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    position = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(name="node_key_once_per_version", fields=["version", "key"])]


class NodeExit(models.Model):
    """An edge of the tree as a row, so that a set of people can be moved by a join."""

    node = models.ForeignKey(Node, models.CASCADE, related_name="edges")
    label = models.TextField(default="next")
    target = models.ForeignKey(Node, models.CASCADE, null=True, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(name="node_exit_once", fields=["node", "label"])]
