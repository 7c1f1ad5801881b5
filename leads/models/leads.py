"""The hand-off to sales: leads, and why some are given back."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from contacts.models import Contact
from leads.models.teams import Team


class RejectReason(models.Model):
    """Why sales gave a lead back, and the nurture track that takes it on."""

    key = models.SlugField(_("key"), max_length=64, unique=True)
    name = models.TextField(_("name"))
    names = models.JSONField(_("name by language"), default=dict, blank=True)
    track_key = models.SlugField(_("nurture track"), max_length=64, blank=True, default="")
    # Competitors, students, wrong numbers: nobody should warm them up again.
    is_final = models.BooleanField(_("disqualifies for good"), default=False, db_default=False)
    position = models.PositiveSmallIntegerField(_("position"), default=0)

    class Meta:
        verbose_name = _("reason to reject")
        verbose_name_plural = _("reasons to reject")
        ordering = ["position", "key"]

    def __str__(self):
        return self.name


class LeadQuerySet(models.QuerySet):
    def unfinished(self):
        return self.filter(state__in=["open", "claimed", "accepted"])

    def unaccepted(self):
        return self.filter(state__in=["open", "claimed"])

    def unrouted(self):
        """Nobody's, neither by routing nor by a claim."""
        return self.filter(state="open", owner=None, assigned_to=None)

    def unclaimed(self):
        return self.filter(state="open", owner=None)

    def owned_by(self, user):
        return self.filter(owner=user)

    def takeable_by(self, user):
        """What a rep may accept at once: what he claimed, and what is open and not a colleague's turn."""
        free = Q(state="open", owner=None) & (Q(assigned_to=None) | Q(assigned_to=user))
        return self.filter(Q(state="claimed", owner=user) | free)

    def overdue(self, now):
        """Those that nobody accepted in time."""
        return self.filter(state__in=["open", "claimed"], due_at__lt=now)

    def movable_by(self, user):
        """A rep moves his own leads, and who may change leads moves all that are in somebody's hands."""
        # What a deleted user had in hand is nobody's, and yet somebody must be able to go on with it.
        return self.exclude(state="open") if user.has_perm("leads.change_lead") else self.filter(owner=user)

    def awake(self, now):
        """Without those that sleep until later."""
        return self.exclude(snoozed_until__gt=now)

    def snoozed(self, now):
        """Those that sleep at this moment."""
        return self.filter(snoozed_until__gt=now)

    def visible_to(self, user):
        """All for who may see all leads; for a rep his own and the unclaimed ones; else none."""
        if not user.is_active:
            return self.none()
        if user.has_perm("leads.view_lead"):
            return self
        if user.has_perm("leads.work_lead"):
            return self.filter(Q(owner=user) | Q(state="open", owner=None))
        return self.none()


class Lead(models.Model):
    """One qualified person in the hands of sales, once: open → claimed → accepted → converted, or rejected."""

    STATES = [
        ("open", _("open")),
        ("claimed", _("claimed")),
        ("accepted", _("accepted")),
        ("rejected", _("rejected")),
        ("converted", _("converted")),
    ]
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="leads", verbose_name=_("contact"))
    state = models.TextField(_("state"), choices=STATES, default="open")
    team = models.ForeignKey(Team, models.SET_NULL, null=True, blank=True, related_name="leads", verbose_name=_("team"))
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="leads", verbose_name=_("owner")
    )
    # Whom routing gave it to. He need not take it, and a colleague may: see `owner`.
    assigned_to = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="assigned_leads",
        verbose_name=_("assigned to"),
    )  # fmt: skip
    assigned_at = models.DateTimeField(_("assigned"), null=True, blank=True)
    # Users who had it and did not accept it in time; they come again once everybody had it.
    lapsed_by = ArrayField(models.BigIntegerField(), default=list, db_default=[], editable=False)
    reassigned = models.PositiveIntegerField(_("times reassigned"), default=0, db_default=0, editable=False)
    # Why it is nobody's: one of `leads.routing.REASONS`.
    unrouted_because = models.TextField(_("nobody's because"), blank=True, default="", db_default="", editable=False)
    # When routing last looked for somebody and found nobody.
    asked_at = models.DateTimeField(null=True, blank=True, editable=False)
    # When this clock's end was told to the stream.
    overdue_at = models.DateTimeField(_("told as overdue"), null=True, blank=True, editable=False)
    # What makes this person worth a call now: one line, and the evidence behind it, as they were at hand-off.
    headline = models.TextField(_("reason to act now"), blank=True, default="")
    evidence = models.JSONField(_("evidence"), default=list, blank=True)
    score = models.FloatField(_("score at hand-off"), null=True, blank=True)
    touchpoint_id = models.BigIntegerField(null=True, editable=False)
    created_at = models.DateTimeField(_("since"))
    due_at = models.DateTimeField(_("answer by"), null=True, blank=True)
    claimed_at = models.DateTimeField(_("claimed"), null=True, blank=True)
    claimed_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    accepted_at = models.DateTimeField(_("accepted"), null=True, blank=True)
    accepted_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    ended_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    reject_reason = models.ForeignKey(RejectReason, models.PROTECT, null=True, blank=True, verbose_name=_("reason"))
    note = models.TextField(_("note"), blank=True, default="")
    value = models.DecimalField(_("value"), max_digits=14, decimal_places=2, null=True, blank=True)
    currency = models.CharField(_("currency"), max_length=3, default="EUR", db_default="EUR")
    # The order that the sale became: the shop's number, and its total where it is not the value.
    order_number = models.TextField(_("order number"), blank=True, default="", db_default="")
    order_total = models.DecimalField(_("order total"), max_digits=14, decimal_places=2, null=True, blank=True)
    # Until when it sleeps, at the foot of its rep's list, and why.
    snoozed_until = models.DateTimeField(_("snoozed until"), null=True, blank=True)
    snooze_reason = models.TextField(_("why it sleeps"), blank=True, default="", db_default="")
    # What another system calls it.
    crm_id = models.TextField(_("number in the CRM"), blank=True, default="", db_default="")
    # Counted up by the database with every change of the row, and up to which of them the stream was told.
    version = models.BigIntegerField(default=1, db_default=1, editable=False)
    told_version = models.BigIntegerField(default=0, db_default=0, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = LeadQuerySet.as_manager()

    class Meta:
        verbose_name = _("lead")
        verbose_name_plural = _("leads")
        ordering = ["-created_at", "-pk"]
        permissions = [
            ("work_lead", _("Can work on own and unclaimed leads")),
            ("route_lead", _("Can hand leads over to others")),
        ]
        indexes = [
            models.Index(fields=["state", "owner", "-created_at"], name="lead_list"),
            models.Index(
                fields=["due_at"],
                name="lead_unaccepted",
                condition=Q(state__in=["open", "claimed"]),
            ),
            models.Index(fields=["id"], name="lead_untold", condition=~Q(told_version=F("version"))),
            models.Index(fields=["snoozed_until"], name="lead_asleep", condition=Q(snoozed_until__isnull=False)),
        ]
        constraints = [
            models.UniqueConstraint(
                name="one_unfinished_lead_per_contact",
                fields=["contact"],
                condition=Q(state__in=["open", "claimed", "accepted"]),
            ),
            models.CheckConstraint(
                name="a_claimed_lead_has_its_moment", condition=~Q(state="claimed") | Q(claimed_at__isnull=False)
            ),
            models.CheckConstraint(
                name="an_open_lead_has_no_owner", condition=~Q(state="open") | Q(owner__isnull=True)
            ),
            models.CheckConstraint(
                name="an_assigned_lead_has_its_moment",
                condition=Q(assigned_to__isnull=True) | Q(assigned_at__isnull=False),
            ),
            models.CheckConstraint(
                name="a_rejected_lead_has_a_reason", condition=~Q(state="rejected") | Q(reject_reason__isnull=False)
            ),
            models.CheckConstraint(
                name="an_ended_lead_has_its_moment",
                condition=~Q(state__in=["rejected", "converted"]) | Q(ended_at__isnull=False),
            ),
            models.CheckConstraint(
                name="only_a_lead_in_hand_sleeps",
                condition=Q(snoozed_until=None) | Q(state__in=["claimed", "accepted"]),
            ),
            models.UniqueConstraint(name="one_lead_per_crm_id", fields=["crm_id"], condition=~Q(crm_id="")),
        ]

    def __str__(self):
        return f"{self.contact}"
