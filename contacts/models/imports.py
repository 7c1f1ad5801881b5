"""Files of people: what is read from them, what became of each row, and what was taken out of the house."""

from django.conf import settings
from django.db import models
from django.db.models import Q, Value
from django.utils.timezone import now as wall_clock
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from contacts.models.groups import Segment
from contacts.models.people import Contact


class Import(models.Model):
    """One file of people: how it is read, what is to become of its rows, and how far it is.

    `rows` is written in the transaction of each batch: a run that was cut off goes on behind it, exactly once.
    """

    STATES = [
        ("draft", _("draft")),
        ("checking", _("being checked")),
        ("waiting", _("waiting")),
        ("running", _("running")),
        ("paused", pgettext_lazy("import", "paused")),
        ("finished", _("finished")),
        ("failed", _("failed")),
        ("cancelled", pgettext_lazy("import", "cancelled")),
        ("undoing", _("being undone")),
        ("undone", _("undone")),
    ]
    MODES = [
        ("all", _("make new people and change those who are there")),
        ("create", _("only make new people")),
        ("update", _("only change people who are there")),
    ]
    name = models.TextField(_("file"))
    file = models.FileField(_("file"), upload_to="imports/%Y/%m", null=True, blank=True)
    # How the file is read; empty where the file itself is asked.
    encoding = models.TextField(_("encoding"), blank=True, default="", db_default="")
    separator = models.TextField(_("separator"), blank=True, default="", db_default="")
    sheet = models.TextField(_("sheet"), blank=True, default="", db_default="")
    # Which line of the file names the columns: 0 where none does; null where the file itself is asked.
    header_line = models.PositiveIntegerField(_("line that names the columns"), null=True, blank=True)
    # How numbers and days of a column are read: {header: {"as": "." or "," or "dmy" or "mdy", "is_sure": …}}.
    readings = models.JSONField(
        default=dict, db_default=Value({}, models.JSONField()), blank=True, editable=False, verbose_name=_("readings")
    )
    headers = models.JSONField(_("headers"), default=list, db_default=Value([], models.JSONField()), editable=False)
    mapping = models.JSONField(_("columns"), default=dict, blank=True)
    # What every row says besides its cells: {field: text}.
    constants = models.JSONField(_("for every row"), default=dict, db_default=Value({}, models.JSONField()))
    mode = models.TextField(_("does"), choices=MODES, default="all", db_default="all")
    segment = models.ForeignKey(
        Segment, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("put into the segment")
    )
    may_raise_consent = models.BooleanField(_("may raise consent"), default=False, db_default=False)
    raise_reason = models.TextField(_("why consent may be raised"), blank=True, default="", db_default="")
    state = models.TextField(_("state"), choices=STATES, default="waiting")
    # Why the file as a whole could not be read, or an undoing stopped.
    problem = models.TextField(_("problem"), blank=True, default="", db_default="")
    rows = models.PositiveIntegerField(_("rows"), default=0)
    created = models.PositiveIntegerField(_("created"), default=0)
    updated = models.PositiveIntegerField(_("updated"), default=0)
    unchanged = models.PositiveIntegerField(_("unchanged"), default=0)
    rejected = models.PositiveIntegerField(_("rejected"), default=0)
    noted = models.PositiveIntegerField(_("taken with a note"), default=0, db_default=0)
    # How much of the file is read, from 0 to 1, and how many seconds a worker was at it.
    share = models.FloatField(default=0, db_default=0, editable=False)
    seconds = models.FloatField(default=0, db_default=0, editable=False)
    # What a check of the whole file found: the counts of a run that left nothing.
    checked = models.JSONField(null=True, editable=False)
    # What an undoing did: {removed, restored, kept}; and behind which ImportedPerson it goes on.
    undone = models.JSONField(default=dict, db_default=Value({}, models.JSONField()), editable=False)
    undone_upto = models.BigIntegerField(default=0, db_default=0, editable=False)
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, verbose_name=_("started by")
    )
    created_at = models.DateTimeField(_("started"), default=wall_clock, editable=False)
    finished_at = models.DateTimeField(_("ended"), null=True, editable=False)

    class Meta:
        verbose_name = _("import")
        verbose_name_plural = _("imports")
        ordering = ["-pk"]
        permissions = [("raise_consent", _("May let an import raise consent"))]
        constraints = [
            models.CheckConstraint(
                name="import_raises_consent_for_a_reason", condition=Q(may_raise_consent=False) | ~Q(raise_reason="")
            ),
        ]

    def __str__(self):
        return self.name


class ImportedPerson(models.Model):
    """Whom an import made or changed: what makes it possible to undo. Kept for some weeks."""

    batch = models.ForeignKey(Import, models.CASCADE, related_name="people")
    contact = models.ForeignKey(
        Contact, models.DO_NOTHING, related_name="imported_by", db_constraint=False, db_index=False
    )
    # Only what was changed, a custom field as attributes.key; `before` is null where the import made the person.
    before = models.JSONField(null=True)
    after = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    written_at = models.DateTimeField()
    # Why an undoing left something as it is; empty where it did not.
    kept = models.TextField(default="", db_default="")

    class Meta:
        verbose_name = _("imported person")
        verbose_name_plural = _("imported people")
        constraints = [models.UniqueConstraint(name="imported_person_once", fields=["contact", "batch"])]


class ImportNote(models.Model):
    """A row that was refused, or taken with a remark: its number, its cells as they stand in the file, the reasons."""

    batch = models.ForeignKey(Import, models.CASCADE, related_name="notes", db_index=False)
    line = models.PositiveIntegerField(_("row"))
    is_refused = models.BooleanField(_("refused"))
    cells = models.JSONField(default=list)
    reasons = models.JSONField(default=list, help_text=_("field and message"))

    class Meta:
        verbose_name = _("note on a row")
        verbose_name_plural = _("notes on rows")
        indexes = [models.Index(fields=["batch", "id"], name="importnote_batch")]


class Export(models.Model):
    """Who took which data of people out of the house, and how many: written before the first byte leaves."""

    FORMATS = [("csv", "CSV"), ("xlsx", "XLSX"), ("ndjson", "NDJSON")]
    made_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, verbose_name=_("by")
    )
    door = models.TextField(_("where"), help_text=_("admin or rest"))
    format = models.TextField(_("format"), choices=FORMATS)
    columns = models.JSONField(_("columns"), default=list)
    asked = models.TextField(_("whom"), blank=True, default="", help_text=_("the filters, as they were asked"))
    people = models.PositiveIntegerField(_("people"), default=0)
    # False where the reader went away before the end.
    is_complete = models.BooleanField(_("complete"), default=False)
    made_at = models.DateTimeField(_("when"))

    class Meta:
        verbose_name = _("export")
        verbose_name_plural = _("exports")
        ordering = ["-pk"]
        permissions = [("export_contact", _("May take contacts out as a file"))]
