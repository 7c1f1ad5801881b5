"""What delivery workers note, and how fast they may go."""

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class Handover(models.Model):
    """Messages that a worker began to hand over: of a claim that ends before, surely nothing was sent."""

    # As in `Message.claimed_by`, and plain ids of messages: a row lives for seconds.
    worker = models.TextField()
    begun_at = models.DateTimeField()
    messages = ArrayField(models.BigIntegerField())


class DomainLimit(models.Model):
    """How many mails a provider, or the whole machine, is sent in a minute, an hour or a day. What is over waits.

    Minute, hour and day are those of the clock, the day in the workspace's time zone. Nothing is limited while no row
    is active.
    """

    SCOPES = [
        ("domains", _("these domains together")),
        ("each", _("every other domain by itself")),
        ("all", _("all mail")),
    ]

    name = models.TextField(_("name"), unique=True)
    scope = models.TextField(_("for"), choices=SCOPES, default="domains")
    domains = ArrayField(
        models.TextField(),
        verbose_name=_("domains"),
        default=list,
        blank=True,
        help_text=_("gmail.com, googlemail.com"),
    )
    per_minute = models.PositiveIntegerField(
        _("mails a minute"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    per_hour = models.PositiveIntegerField(_("mails an hour"), null=True, blank=True, validators=[MinValueValidator(1)])
    per_day = models.PositiveIntegerField(_("mails a day"), null=True, blank=True, validators=[MinValueValidator(1)])
    at_once = models.PositiveIntegerField(
        _("mails on their way at once"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    reserved = models.PositiveSmallIntegerField(
        _("kept for transactional mail, per cent"), default=10, validators=[MaxValueValidator(90)]
    )
    warm_up_from = models.DateField(
        _("warm-up from"), null=True, blank=True, help_text=_("the first day of a new sender; empty: no warm-up")
    )
    warm_up_first = models.PositiveIntegerField(_("mails on that day"), default=50, validators=[MinValueValidator(1)])
    warm_up_growth = models.PositiveSmallIntegerField(
        _("growth a day, per cent"), default=40, validators=[MinValueValidator(1), MaxValueValidator(900)]
    )
    is_active = models.BooleanField(_("active"), default=False)

    class Meta:
        verbose_name = _("sending limit")
        verbose_name_plural = _("sending limits")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                name="a_limit_leaves_room",
                condition=~Q(per_minute=0) & ~Q(per_hour=0) & ~Q(per_day=0) & ~Q(at_once=0) & Q(reserved__lte=90),
            ),
            models.CheckConstraint(
                name="a_limit_knows_its_domains", condition=~Q(scope="domains") | ~Q(domains=[]) | Q(is_active=False)
            ),
            models.UniqueConstraint(
                name="one_limit_for_all_and_one_for_each", fields=["scope"], condition=~Q(scope="domains")
            ),
        ]

    def __str__(self):
        return self.name

    def clean(self):
        self.domains = sorted({one.strip().lower().lstrip("@") for one in self.domains if one.strip()})
        if self.scope == "domains" and not self.domains:
            raise ValidationError({"domains": _("Name at least one domain, such as gmail.com.")})
        if self.scope != "domains" and self.domains:
            raise ValidationError({"domains": _("Only a limit for these domains together has domains.")})
        others = DomainLimit.objects.exclude(pk=self.pk).filter(domains__overlap=self.domains).first()
        if self.domains and others:
            raise ValidationError(
                {"domains": _("One of these domains has a limit already: %(name)s.") % {"name": others}}
            )


class Departure(models.Model):
    """How many mails were claimed under one limit in one minute, hour or day, and how many of them can wait."""

    key = models.TextField()
    span = models.TextField()
    begins_at = models.DateTimeField()
    number = models.PositiveIntegerField()
    bulk = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_count_for_a_span", fields=["key", "span", "begins_at"]),
        ]


class Pace(models.Model):
    """A provider said "later": it gets half as many a minute, and from then on each minute a little more again.

    All workers heed it. It is forgotten when the pace of before is reached.
    """

    key = models.TextField(unique=True)
    per_minute = models.PositiveIntegerField()
    # What it got before it first complained.
    before = models.PositiveIntegerField()
    slowed_at = models.DateTimeField()
    said = models.TextField(default="", db_default="")

    class Meta:
        verbose_name = _("slowed provider")
        verbose_name_plural = _("slowed providers")
        constraints = [models.CheckConstraint(name="a_pace_leaves_room", condition=Q(per_minute__gt=0))]

    def __str__(self):
        return self.key
