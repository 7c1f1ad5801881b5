"""What is forgotten, by rule or because a person asked, and what stays of it."""

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from contacts.models.people import Contact, ErasureKey


class Erasure(models.Model):
    """The proof of one erasure: what went, how much of it, when and by whom. Nothing in it is about the person."""

    # The tombstone's id, not a foreign key: whatever leads to a contact is erased with them.
    contact_number = models.BigIntegerField(_("contact"), unique=True)
    erased_at = models.DateTimeField(_("erased"))
    erased_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, verbose_name=_("by"))
    # By which key the person's handles are known again, and how many of them.
    key = models.ForeignKey(ErasureKey, models.PROTECT, null=True, related_name="+")
    handles = models.PositiveIntegerField(_("handles known again by their hash"), default=0)
    # {"messaging.message": {"removed": 0, "kept": 12}, …}
    counts = models.JSONField(_("rows"), default=dict)
    # What other people's rows may still say of the person: by which patterns it is found, forgotten at the end of the
    # search; how far the walk over the stream is, up to where it goes, and when it ended.
    sought = models.JSONField(default=dict, editable=False)
    position = models.BigIntegerField(default=0, db_default=0, editable=False)
    upto = models.BigIntegerField(default=0, db_default=0, editable=False)
    swept_at = models.DateTimeField(_("others' rows searched"), null=True, editable=False)

    class Meta:
        verbose_name = _("erasure")
        verbose_name_plural = _("erasures")
        constraints = [
            # Handles are kept no longer than they are looked for.
            models.CheckConstraint(name="erasure_forgets_what_it_sought", condition=Q(swept_at=None) | Q(sought={})),
        ]

    def __str__(self):
        return str(_("Contact %(id)d") % {"id": self.contact_number})

    def document(self) -> dict[str, Any]:
        """The proof as it is handed out."""
        return {
            "contact": self.contact_number,
            "erased_at": self.erased_at,
            "erased_by": self.erased_by.get_username() if self.erased_by else None,
            "key": self.key_id,
            "handles_known_again": self.handles,
            "rows": self.counts,
            # Null: the search of other people's rows is under way, or there was none yet when this was made.
            "others_searched_at": self.swept_at,
        }


class RetentionRule(models.Model):
    """Touchpoints of some kinds are dropped, or lose what tells of the person, after so many days; totals stay."""

    ACTIONS = [("drop", _("drop")), ("anonymise", _("anonymise"))]
    key = models.SlugField(_("key"), max_length=64, unique=True)
    kind = models.TextField(_("kind"), help_text=_("page.viewed, or page.* for all that begin so, or * for all"))
    channel = models.TextField(_("channel"), blank=True, default="", help_text=_("empty: any"))
    days = models.PositiveIntegerField(_("after days"))
    action = models.TextField(_("what happens"), choices=ACTIONS, default="drop")
    kept_properties = models.JSONField(
        _("properties that stay"), default=list, blank=True, help_text=_("a list of names, for “anonymise”")
    )
    is_active = models.BooleanField(_("active"), default=True)
    # How far the walk over the stream is that runs now, up to where it goes, and when the newest one ended.
    position = models.BigIntegerField(default=0, editable=False)
    upto = models.BigIntegerField(default=0, editable=False)
    walked_at = models.DateTimeField(_("last run"), null=True, editable=False)
    handled = models.BigIntegerField(_("touchpoints so far"), default=0, editable=False)

    class Meta:
        verbose_name = _("retention rule")
        verbose_name_plural = _("retention rules")
        ordering = ["key"]
        constraints = [
            # What comes late must find its day still whole.
            models.CheckConstraint(name="retention_is_a_month_or_more", condition=Q(days__gte=30)),
        ]

    def __str__(self):
        return self.key


class TouchpointTotal(models.Model):
    """How many touchpoints of a kind a contact had that were dropped: what stays of them."""

    contact = models.ForeignKey(Contact, models.CASCADE, related_name="touchpoint_totals", verbose_name=_("contact"))
    kind = models.TextField(_("kind"))
    count = models.PositiveBigIntegerField(_("count"), default=0)
    machine_count = models.PositiveBigIntegerField(_("of these by a machine"), default=0)
    first_at = models.DateTimeField(_("first"))
    last_at = models.DateTimeField(_("last"))

    class Meta:
        verbose_name = _("total of dropped touchpoints")
        verbose_name_plural = _("totals of dropped touchpoints")
        constraints = [models.UniqueConstraint(name="total_once_per_kind", fields=["contact", "kind"])]
