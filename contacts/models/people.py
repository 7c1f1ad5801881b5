"""People and their companies: who they are, by which handles they are found, and what became of merged ones."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Lower
from django.utils.timezone import now as wall_clock
from django.utils.translation import gettext_lazy as _

from contacts import access
from contacts.stages import STAGES


class Company(models.Model):
    """An organisation with any number of contacts; `domain` is what joins them."""

    name = models.TextField(_("name"))
    domain = models.TextField(_("domain"), null=True, blank=True, unique=True)
    country = models.TextField(_("country"), blank=True, db_default="", default="", help_text=_("ISO code, such as CZ"))
    employees = models.PositiveIntegerField(_("employees"), null=True, blank=True)
    industry = models.TextField(_("industry"), blank=True, db_default="", default="")
    attributes = models.JSONField(_("attributes"), default=dict, db_default=Value({}, models.JSONField()), blank=True)
    created_at = models.DateTimeField(_("created"), default=wall_clock, editable=False)
    updated_at = models.DateTimeField(_("updated"), default=wall_clock, editable=False)
    # The row of a company merged into another stays: its domain and name lead to what it became.
    merged_into = models.ForeignKey(
        "self",
        models.CASCADE,
        null=True,
        editable=False,
        related_name="merged_companies",
        verbose_name=_("merged into"),
    )
    # Whether people with an address at its domain have been asked in; the tick does it.
    is_joined = models.BooleanField(default=False, db_default=False, editable=False)

    class Meta:
        verbose_name = _("company")
        verbose_name_plural = _("companies")
        ordering = ["name", "pk"]
        constraints = [
            models.CheckConstraint(
                name="company_is_not_merged_into_itself", condition=~Q(merged_into=models.F("id")) | Q(merged_into=None)
            ),
        ]
        indexes = [models.Index(fields=["id"], name="company_to_join", condition=Q(is_joined=False))]

    def __str__(self):
        return self.name


class ContactQuerySet(models.QuerySet):
    def of_unknown_zone(self):
        """Who told a time zone that is none: they live by the workspace's clock."""
        return self.filter(~Q(timezone=""), zone="")

    def living(self):
        """Those who were neither merged into somebody else nor erased."""
        return self.filter(merged_into=None, erased_at=None)

    def known(self):
        return self.living().exclude(stage="visitor")

    def visible_to(self, user):
        """The one owner scope of list, detail, action, export and admin.

        Who may see all contacts sees all; others see what the apps above opened to them (`contacts.access`).
        """
        if not user.is_active:
            return self.none()
        if user.has_perm("contacts.view_contact"):
            return self
        return self.filter(access.scope(user))


class Contact(models.Model):
    """A person, from the first anonymous hit on.

    The row of somebody merged away or erased stays as a tombstone, so that old ids, links and cookies keep leading
    somewhere.
    """

    email = models.TextField(_("e-mail"), blank=True, default="", db_default="")
    phone = models.TextField(_("phone"), blank=True, default="", db_default="")
    first_name = models.TextField(_("first name"), blank=True, default="", db_default="")
    last_name = models.TextField(_("last name"), blank=True, default="", db_default="")
    salutation = models.TextField(
        _("salutation"),
        blank=True,
        default="",
        db_default="",
        help_text=_("How a letter begins, in the person's own language: “Dobrý den, pane Nováku”"),
    )
    language = models.TextField(_("language"), blank=True, default="", db_default="", help_text=_("such as cs"))
    country = models.TextField(_("country"), blank=True, default="", db_default="", help_text=_("ISO code, such as CZ"))
    timezone = models.TextField(_("time zone as told"), blank=True, default="", db_default="")
    zone = models.TextField(_("time zone"), blank=True, default="", db_default="", editable=False)
    company = models.ForeignKey(
        Company, models.SET_NULL, null=True, blank=True, related_name="contacts", verbose_name=_("company"),
        db_index=False,
    )  # fmt: skip
    job_title = models.TextField(_("job title"), blank=True, default="", db_default="")
    company_role = models.TextField(
        _("role in the company"),
        blank=True,
        default="",
        db_default="",
        help_text=_("their part in a purchase: decision maker, champion, user, billing …"),
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="contacts",
        verbose_name=_("owner"),
        db_index=False,
    )
    source = models.TextField(
        _("source"), blank=True, default="", db_default="", help_text=_("where the first hit came from")
    )
    stage = models.TextField(_("stage"), default="visitor", db_default="visitor", choices=STAGES, editable=False)
    highest_stage = models.TextField(
        _("highest stage"), default="visitor", db_default="visitor", choices=STAGES, editable=False
    )
    stage_changed_at = models.DateTimeField(_("in this stage since"), null=True, editable=False)
    attributes = models.JSONField(
        _("custom fields"), default=dict, db_default=Value({}, models.JSONField()), blank=True
    )
    created_at = models.DateTimeField(_("created"), default=wall_clock, editable=False)
    updated_at = models.DateTimeField(_("updated"), default=wall_clock, editable=False)
    synced_at = models.DateTimeField(_("newest change told by a client"), null=True, editable=False)
    identified_at = models.DateTimeField(_("known since"), null=True, editable=False)
    # What the person asked for on the preference page: no marketing until then, and at most so much of it in 7 days.
    paused_until = models.DateTimeField(_("no marketing until"), null=True, editable=False)
    most_per_week = models.PositiveSmallIntegerField(
        _("marketing messages in 7 days at most"), null=True, editable=False
    )
    last_seen_at = models.DateTimeField(_("last seen"), null=True, editable=False)
    merged_into = models.ForeignKey(
        "self", models.PROTECT, null=True, editable=False, related_name="merged_contacts", db_index=False,
        verbose_name=_("merged into"),
    )  # fmt: skip
    erased_at = models.DateTimeField(_("erased"), null=True, editable=False)

    objects = ContactQuerySet.as_manager()

    class Meta:
        verbose_name = _("contact")
        verbose_name_plural = _("contacts")
        permissions = [("export_person", _("Can export all that is held about a person"))]
        constraints = [
            models.CheckConstraint(
                name="contact_is_not_merged_into_itself", condition=~Q(merged_into=models.F("id")) | Q(merged_into=None)
            ),
        ]
        indexes = [
            models.Index(fields=["stage", "id"], name="contact_stage"),
            models.Index(fields=["-updated_at", "-id"], name="contact_updated"),
            models.Index(fields=["owner", "id"], name="contact_owner", condition=Q(owner__isnull=False)),
            models.Index(fields=["company"], name="contact_company", condition=Q(company__isnull=False)),
            models.Index(fields=["merged_into"], name="contact_merged", condition=Q(merged_into__isnull=False)),
            # Nearly empty: counts them without reading everybody (see `of_unknown_zone`).
            models.Index(fields=["timezone"], name="contact_unknown_zone", condition=Q(zone="") & ~Q(timezone="")),
            GinIndex(
                OpClass(Lower("first_name"), name="gin_trgm_ops"),
                OpClass(Lower("last_name"), name="gin_trgm_ops"),
                OpClass(Lower("email"), name="gin_trgm_ops"),
                name="contact_search",
            ),
        ]

    def __str__(self):
        return self.name

    @property
    def name(self) -> str:
        """First and last name, else the address, else a numbered visitor."""
        return f"{self.first_name} {self.last_name}".strip() or self.email or _("Visitor %(id)s") % {"id": self.pk}


class Identity(models.Model):
    """One handle of a person: an e-mail address, a user id, an anonymous id, a phone, or a client's own kind."""

    contact = models.ForeignKey(Contact, models.CASCADE, related_name="identities", verbose_name=_("contact"))
    kind = models.TextField(_("kind"))
    value = models.TextField(_("value"), help_text=_("normalised: see contacts.identity.normalise"))
    created_at = models.DateTimeField(_("since"), default=wall_clock, editable=False)

    class Meta:
        verbose_name = _("identity")
        verbose_name_plural = _("identities")
        constraints = [
            # One handle leads to one person.
            models.UniqueConstraint(name="identity_leads_to_one_contact", fields=["kind", "value"]),
            models.CheckConstraint(name="identity_is_not_empty", condition=~Q(value="") & ~Q(kind="")),
        ]

    def __str__(self):
        return f"{self.kind}:{self.value}"


class Merge(models.Model):
    """The log of one merge: who went into whom, the two rows as they were, and whether it was taken back."""

    survivor = models.ForeignKey(Contact, models.CASCADE, related_name="merges_survived", verbose_name=_("who stayed"))
    loser = models.ForeignKey(Contact, models.CASCADE, related_name="merges_lost", verbose_name=_("who went into it"))
    reason = models.TextField(_("reason"))
    # Both contacts, the loser's handles and consents, and the survivor as the merge left it.
    before = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    merged_at = models.DateTimeField(_("merged"))
    merged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("by")
    )
    undone_at = models.DateTimeField(_("undone"), null=True)
    undone_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("undone by")
    )

    class Meta:
        verbose_name = _("merge")
        verbose_name_plural = _("merges")
        indexes = [models.Index(fields=["merged_at"], name="merge_merged_at")]

    def __str__(self):
        return f"#{self.loser_id} → #{self.survivor_id}"


class MergeEntry(models.Model):
    """What a merge did to the rows of one table: the keys of some that moved, or a row that was dropped.

    Many moved rows take several entries, so that undoing reads no more at once than it can hold.
    """

    merge = models.ForeignKey(Merge, models.CASCADE, related_name="entries")
    table_name = models.TextField()
    column_name = models.TextField(default="", db_default="")
    keys = ArrayField(models.TextField(), default=list)
    row = models.JSONField(null=True)

    class Meta:
        verbose_name = _("row of a merge")
        verbose_name_plural = _("rows of a merge")


class ErasedHandle(models.Model):
    """A keyed hash of an address whose person asked to be forgotten, so that a later file does not bring them back."""

    digest = models.TextField(primary_key=True)
    erased_at = models.DateTimeField()

    class Meta:
        verbose_name = _("erased address")
        verbose_name_plural = _("erased addresses")


class ErasureKey(models.Model):
    """The key of those hashes, made on first use and never deleted: SECRET_KEY may change, and nobody is forgotten."""

    secret = models.BinaryField()
    created_at = models.DateTimeField()


class Field(models.Model):
    """A custom field of contacts: its value stands in `Contact.attributes[key]`."""

    TYPES = [
        ("text", _("text")),
        ("number", _("number")),
        ("boolean", _("yes or no")),
        ("date", _("date")),
        ("datetime", _("date and time")),
        ("choice", _("choice")),
        ("list", _("list")),
    ]
    key = models.SlugField(_("key"), max_length=64, unique=True)
    name = models.TextField(_("name"), blank=True, default="")
    type = models.TextField(_("type"), choices=TYPES, default="text")
    choices = models.JSONField(_("choices"), default=list, blank=True)

    class Meta:
        verbose_name = _("custom field")
        verbose_name_plural = _("custom fields")
        ordering = ["key"]

    def __str__(self):
        return self.name or self.key


class UnfitValue(models.Model):
    """What was last told of a custom field and is none of its type: kept here, so that it is neither used nor lost."""

    contact = models.ForeignKey(Contact, models.CASCADE, related_name="unfit_values", verbose_name=_("contact"))
    field = models.ForeignKey(Field, models.CASCADE, related_name="unfit_values", verbose_name=_("custom field"))
    value = models.JSONField(_("value"))
    told_at = models.DateTimeField(_("told"))

    class Meta:
        verbose_name = _("value that does not fit")
        verbose_name_plural = _("values that do not fit")
        constraints = [models.UniqueConstraint(name="unfit_value_once", fields=["field", "contact"])]


class Trait(models.Model):
    """A key that stands in people's `attributes` and is no custom field yet; counted every hour where people changed.

    `types` says how many values are of which type, `samples` shows a few of them.
    """

    key = models.TextField(_("key"), primary_key=True)
    people = models.PositiveIntegerField(_("people"))
    types = models.JSONField(_("types"))
    samples = models.JSONField(_("samples"))
    counted_at = models.DateTimeField(_("counted"))

    class Meta:
        verbose_name = _("unregistered trait")
        verbose_name_plural = _("unregistered traits")
        ordering = ["-people", "key"]

    def __str__(self):
        return self.key


class Zone(models.Model):
    """A time zone that both PostgreSQL and Python know; filled by a migration. What is not here is no zone."""

    name = models.TextField(primary_key=True)

    class Meta:
        managed = False  # what a migration filled is not emptied by `flush`
