"""What a message says, and what it is about."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Q, Value
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from messaging import blocks, utm
from messaging.channels import choices
from messaging.linter import PLACEHOLDER_BRAND, check
from messaging.models.reusable import ReusableBlock


class Topic(models.Model):
    """What a message is about; people allow or refuse topics."""

    key = models.SlugField(_("key"), max_length=64, unique=True)
    name = models.TextField(_("name"))
    names = models.JSONField(_("name by language"), default=dict, blank=True)
    description = models.TextField(_("description"), blank=True, default="")
    descriptions = models.JSONField(_("description by language"), default=dict, db_default={}, blank=True)
    is_opt_in = models.BooleanField(
        _("only with consent"), default=True, help_text=_("off: everybody until they refuse (opt-out)")
    )
    is_double_opt_in = models.BooleanField(
        _("only once confirmed by mail"), default=False, db_default=False, help_text=_("double opt-in")
    )

    class Meta:
        verbose_name = _("topic")
        verbose_name_plural = _("topics")
        ordering = ["key"]
        constraints = [
            models.CheckConstraint(
                name="who_must_confirm_must_consent", condition=Q(is_double_opt_in=False) | Q(is_opt_in=True)
            ),
        ]

    def __str__(self):
        return self.name

    def name_in(self, language: str) -> str:
        """What it is called in a language, else what it is called."""
        return str((self.names or {}).get(language) or self.name)

    def description_in(self, language: str) -> str:
        return str((self.descriptions or {}).get(language) or self.description)

    def clean(self):
        for field in ("names", "descriptions"):
            told = getattr(self, field)
            if not isinstance(told, dict) or not all(isinstance(one, str) for one in told.values()):
                raise ValidationError({field: _("Write it as {“cs”: …, “pl”: …}.")})
        if self.is_double_opt_in and not self.is_opt_in:
            raise ValidationError(
                {"is_double_opt_in": _("Only what needs consent can be confirmed: tick “only with consent” too.")}
            )


class Template(models.Model):
    """A message as people edit it. What leaves is a `TemplateVersion`."""

    CLASSES = [
        ("marketing", _("marketing")),
        ("operational", _("operational")),
        ("transactional", _("transactional")),
    ]
    FORMATS = [
        ("markdown", _("Markdown")),
        ("mjml", _("MJML")),
        ("html", _("HTML")),
        ("blocks", _("blocks")),
        ("text", _("plain text")),
    ]
    QUIET_HOURS = [
        ("default", _("wait until they are over")),
        ("skip", _("do not send it at all")),
        ("ignore", _("send it all the same")),
    ]
    key = models.SlugField(_("key"), max_length=64, unique=True)
    name = models.TextField(_("name"), blank=True, default="")
    topic = models.ForeignKey(Topic, models.PROTECT, null=True, blank=True, verbose_name=_("topic"))
    message_class = models.TextField(_("class"), choices=CLASSES, default="marketing")
    channel = models.TextField(_("channel"), choices=choices, default="email")
    language = models.TextField(_("language"), default="en", help_text=_("of the text below; others stand beside it"))
    # Mails alone must have one.
    subject = models.TextField(_("subject"), blank=True, default="", db_default="")
    preheader = models.TextField(_("preheader"), blank=True, default="")
    body_format = models.TextField(_("written in"), choices=FORMATS, default="markdown")
    body = models.TextField(_("body"))
    # {"cs": {"subject": …, "preheader": …, "body": …}}
    translations = models.JSONField(_("translations"), default=dict, blank=True)
    # {"off": true} for none of the workspace's campaign parameters, or the parameters that are its own.
    utm = models.JSONField(
        _("campaign parameters"),
        default=dict,
        blank=True,
        db_default=Value({}, models.JSONField()),
        help_text=_('empty: as the workspace says; {"off": true}: none; {"campaign": "spring"}: this one is its own'),
    )
    is_repeatable = models.BooleanField(_("may reach a person more than once"), default=False)
    quiet_hours = models.TextField(
        _("in quiet hours"),
        choices=QUIET_HOURS,
        default="default",
        db_default="default",
        help_text=_("A journey that says otherwise wins. Transactional messages know no quiet hours."),
    )
    holdout = models.PositiveSmallIntegerField(
        _("holdout, per cent"),
        default=0,
        db_default=0,
        validators=[MaxValueValidator(50)],
        help_text=_(
            "So many of a hundred people never get this message, to measure its effect; marketing only, 0 to 50."
        ),
    )
    updated_at = models.DateTimeField(_("changed"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("template")
        verbose_name_plural = _("templates")
        ordering = ["key"]
        constraints = [
            # Marketing without a topic could not be refused by topic.
            models.CheckConstraint(
                name="marketing_has_a_topic", condition=~Q(message_class="marketing") | Q(topic__isnull=False)
            ),
            models.CheckConstraint(
                name="quiet_hours_are_heeded_in_a_known_way", condition=Q(quiet_hours__in=["default", "skip", "ignore"])
            ),
            models.CheckConstraint(name="half_of_the_people_get_a_message", condition=Q(holdout__lte=50)),
        ]

    def __str__(self):
        return self.name or self.key

    @property
    def variants(self) -> dict[str, dict[str, str]]:
        """The text in each language; a translation may leave out what is the same."""
        own = {"subject": self.subject, "preheader": self.preheader, "body": self.body}
        others = {
            language: own | {key: text for key, text in variant.items() if key in own and text}
            for language, variant in (self.translations or {}).items()
        }
        return {self.language: own, **others}

    def reusable(self) -> dict[str, dict[str, Any]]:
        """What its mails say through reusable blocks, as it is frozen: by key. A key that there is not is left out."""
        if self.body_format != "blocks":
            return {}
        keys = {key for variant in self.variants.values() for key in blocks.references(str(variant["body"]))}
        return {one.key: one.content for one in ReusableBlock.objects.filter(key__in=keys)} if keys else {}

    def clean(self):
        """Refuses what could not be sent: Liquid that can not be read, values without a default, forbidden links."""
        if self.holdout and self.message_class != "marketing":
            raise ValidationError({"holdout": _("Only marketing is held back to measure it.")})
        if not isinstance(self.translations, dict) or not all(isinstance(v, dict) for v in self.translations.values()):
            raise ValidationError({"translations": _("Write them as {“cs”: {“subject”: …, “body”: …}}.")})
        if sentence := utm.own_problem(self.utm):
            raise ValidationError({"utm": sentence})
        self._check_channel()
        content = {
            "language": self.language,
            "channel": self.channel,
            "body_format": self.body_format,
            "message_class": self.message_class,
            "variants": self.variants,
            "brand": PLACEHOLDER_BRAND,
            "reusable": self.reusable(),
        }
        found: dict[str, list[str]] = {}
        for one in check(content):
            if not one.is_unsendable:
                continue
            field = one.field.split(".")[0]
            detail = (
                one.sentence if field == one.field else f"{one.field.removeprefix('translations.')}: {one.sentence}"
            )
            found.setdefault(field, []).append(detail)
        if found:
            raise ValidationError(found)

    def _check_channel(self) -> None:
        """What is no mail is written as plain text; whom a message was meant for by one channel, no other reaches."""
        if self.channel == "alert" and self.message_class != "transactional":
            raise ValidationError({"message_class": _("An alert does not reach the person: it is transactional.")})
        if self.channel == "alert" and not self.subject.strip():
            raise ValidationError({"subject": _("An alert is a mail, and a mail has a subject.")})
        if self.channel != "email":
            self.body_format = "text"
        elif self.body_format == "text":
            raise ValidationError({"body_format": _("A mail is written in Markdown, MJML, HTML or blocks.")})
        former = Template.objects.filter(pk=self.pk).values_list("channel", flat=True).first() if self.pk else None
        if former and former != self.channel and self.messages.exists():
            raise ValidationError(
                {"channel": _("Messages of this template were made already; write another one for this channel.")}
            )


class TemplateVersion(models.Model):
    """A template as it was when messages were rendered from it: never changed, so each mail can be shown again."""

    template = models.ForeignKey(Template, models.CASCADE, related_name="versions")
    digest = models.TextField(help_text="SHA-256 of content")
    # {"language": …, "body_format": …, "variants": {"en": {"subject":, "preheader":, "body":}}, "brand": {…}}, and
    # where there are any "reusable": {"key": {…}} and "utm": {"params": {…}, "hosts": […]}.
    content = models.JSONField()
    # How many links each language tracks: who clicks all of them within two seconds is a program.
    link_counts = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(name="template_version_once", fields=["template", "digest"])]
