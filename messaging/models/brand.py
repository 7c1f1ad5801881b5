"""The voice and look of every message."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from messaging.brand_kit import MOST_RADIUS, wrong_with
from messaging.headers import mailbox


class Brand(models.Model):
    """The voice and look of every message: one row."""

    name = models.TextField(_("name"))
    sender = models.TextField(_("from"), help_text=_("Acme <hello@acme.example>"))
    reply_to = models.TextField(_("reply to"), blank=True, default="")
    postal_address = models.TextField(_("postal address"), help_text=_("the law wants it in every marketing mail"))
    website = models.URLField(_("website"), blank=True, default="")
    logo_url = models.URLField(_("logo"), blank=True, default="")
    # What may stand in each of the following says `messaging.brand_kit`.
    # {"primary": "#0b6", "text": …, "dark_text": …}
    colours = models.JSONField(_("colours"), default=dict, blank=True)
    # {"body": "Arial, sans-serif", "heading": …}
    fonts = models.JSONField(_("fonts"), default=dict, db_default={}, blank=True)
    button_radius = models.PositiveSmallIntegerField(
        _("rounding of buttons"), default=6, db_default=6, validators=[MaxValueValidator(MOST_RADIUS)],
        help_text=_("in pixels; 0: square"),
    )  # fmt: skip
    # ["en", "cs"]
    languages = models.JSONField(_("languages we write in"), default=list, db_default=[], blank=True)
    # A list for all languages, or lists by language.
    banned_words = models.JSONField(_("words we do not use"), default=list, blank=True)
    # {"cs": {"e-mail": ["email", "mejl*"]}}
    glossary = models.JSONField(_("glossary"), default=dict, db_default={}, blank=True)
    # {"words_per_sentence": 25, "address": {"cs": "formal"}}
    tone = models.JSONField(_("tone"), default=dict, db_default={}, blank=True)
    legal = models.JSONField(_("legal text by language"), default=dict, blank=True)

    class Meta:
        verbose_name = _("brand")
        verbose_name_plural = _("brand")
        constraints = [
            models.CheckConstraint(name="there_is_one_brand", condition=Q(pk=1)),
            models.CheckConstraint(
                name="buttons_are_not_too_round", condition=Q(button_radius__lte=MOST_RADIUS)
            ),
        ]  # fmt: skip

    def __str__(self):
        return self.name

    @property
    def voice(self) -> dict[str, Any]:
        """What the linter is told of the brand beside its look."""
        return {name: getattr(self, name) for name in ("banned_words", "glossary", "tone", "languages")}

    def clean(self):
        for field in ("sender", "reply_to"):
            if value := getattr(self, field):
                try:
                    mailbox(value)
                except ValueError as error:
                    raise ValidationError({field: str(error)}) from None
        wrong = wrong_with(
            colours_=self.colours, fonts=self.fonts, languages=self.languages, banned_words=self.banned_words,
            glossary=self.glossary, tone=self.tone, legal=self.legal,
        )  # fmt: skip
        if wrong:
            raise ValidationError(wrong)
