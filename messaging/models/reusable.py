"""What is written once and stands in many mails, and what is added to their links."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from messaging import blocks, utm
from messaging.linter import PLACEHOLDER_BRAND, check


class ReusableBlock(models.Model):
    """A part of mails that is written once; a template names it by its key.

    A change shows in every mail that is not frozen yet; a frozen `TemplateVersion` holds what it said then.
    """

    FORMATS = [("blocks", _("blocks")), ("markdown", _("Markdown"))]
    key = models.SlugField(_("key"), max_length=64, unique=True)
    name = models.TextField(_("name"), blank=True, default="")
    language = models.TextField(_("language"), default="en", help_text=_("of the text below; others stand beside it"))
    body_format = models.TextField(_("written in"), choices=FORMATS, default="blocks")
    body = models.TextField(_("body"))
    # {"cs": {"body": …}}
    translations = models.JSONField(_("translations"), default=dict, blank=True)
    updated_at = models.DateTimeField(_("changed"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("reusable block")
        verbose_name_plural = _("reusable blocks")
        ordering = ["key"]

    def __str__(self):
        return self.name or self.key

    @property
    def bodies(self) -> dict[str, str]:
        """What it says in each language that it has."""
        others = {
            language: variant["body"] for language, variant in (self.translations or {}).items() if variant.get("body")
        }
        return {self.language: self.body, **others}

    @property
    def content(self) -> dict[str, Any]:
        """As a template's version freezes it."""
        return {"language": self.language, "body_format": self.body_format, "bodies": self.bodies}

    def clean(self):
        """Refuses what no mail could show."""
        if not isinstance(self.translations, dict) or not all(
            isinstance(one, dict) and set(one) <= {"body"} and isinstance(one.get("body", ""), str)
            for one in self.translations.values()
        ):
            raise ValidationError({"translations": _("Write them as {“cs”: {“body”: …}}.")})
        found: dict[str, list[str]] = {}
        for language, body in self.bodies.items():
            field, prefix = ("body", "") if language == self.language else ("translations", f"{language}: ")
            for sentence in self._problems(str(body)):
                found.setdefault(field, []).append(f"{prefix}{sentence}")
        if found:
            raise ValidationError(found)

    def _problems(self, body: str) -> list[str]:
        content = {
            "language": self.language,
            "body_format": self.body_format,
            "message_class": "marketing",
            "variants": {self.language: {"subject": "–", "body": body}},
            "brand": PLACEHOLDER_BRAND,
        }
        if self.body_format == "blocks":
            try:
                written = blocks.read(body)
            except blocks.BlocksError:
                written = []  # told below
            for path, block, _around in blocks.walk(written):
                # One in another could end in a circle.
                if block["kind"] == "reusable":
                    said = _("A reusable block holds no other.")
                    return [f"{path}: {said}"]
        return [one.sentence for one in check(content) if one.is_unsendable and one.field == "body"]


class UtmRules(models.Model):
    """Which campaign parameters the links in our mails carry: one row. Each is a text with placeholders, such as
    `{journey}` (see `utm`)."""

    is_active = models.BooleanField(_("add them"), default=True)
    source = models.TextField("utm_source", blank=True, default="")
    medium = models.TextField("utm_medium", blank=True, default="email")
    campaign = models.TextField("utm_campaign", blank=True, default="{journey}")
    content = models.TextField("utm_content", blank=True, default="{template}")
    term = models.TextField("utm_term", blank=True, default="")
    hosts = models.JSONField(
        _("more hosts of ours"),
        default=list,
        blank=True,
        help_text=_(
            'beside the one of the brand’s website, such as ["shop.acme.example"]; what lies under them counts'
        ),
    )
    is_everywhere = models.BooleanField(
        _("on links to others too"), default=False, help_text=_("off: only on links to our own hosts")
    )

    class Meta:
        verbose_name = _("campaign parameters")
        verbose_name_plural = _("campaign parameters")
        constraints = [models.CheckConstraint(name="there_is_one_set_of_utm_rules", condition=Q(pk=1))]

    def __str__(self):
        return "UTM"

    def clean(self):
        found = {}
        for name in utm.PARAMETERS:
            if unknown := utm.problem(getattr(self, name)):
                found[name] = utm.unknown_placeholder(unknown)
        if not isinstance(self.hosts, list) or not all(
            isinstance(host, str) and utm.own_host(f"https://{host}") == host.lower() for host in self.hosts
        ):
            found["hosts"] = str(_('Write the hosts as a list without https:// and www.: ["shop.acme.example"].'))
        if found:
            raise ValidationError(found)

    def tags(self, *, own: dict[str, Any], names: dict[str, str], website: str) -> dict[str, Any] | None:
        """What the links of one template get (see `utm.tag`); None for nothing. `own` are the template's own words."""
        if not self.is_active or own.get("off"):
            return None
        rules = {name: own.get(name, getattr(self, name)) for name in utm.PARAMETERS}
        params = utm.resolve(rules, names)
        hosts = sorted({host for host in (utm.own_host(website), *map(str.lower, self.hosts)) if host})
        if not params:
            return None
        return {"params": params, "hosts": hosts, "is_everywhere": self.is_everywhere}
