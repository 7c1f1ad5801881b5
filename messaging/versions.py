"""Frozen templates, and their compiled form in this process."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from messaging.models import Brand, Template, TemplateVersion, UtmRules
from messaging.skeleton import Skeleton
from messaging.texts import Text


class NoBrand(Exception):
    """Without a brand no mail has a sender or a postal address."""


def content_of(template: Template, brand: Brand | None) -> dict[str, Any]:
    """All that decides how a mail of this template looks. Raises NoBrand."""
    if brand is None:
        raise NoBrand(_("There is no brand yet: fill in its name, sender and postal address first."))
    # Of mails it is not said, so that versions frozen before there were other channels stay what they are.
    channel = {} if template.channel == "email" else {"channel": template.channel}
    content = channel | {
        "language": template.language,
        "body_format": template.body_format,
        "message_class": template.message_class,
        "topic": template.topic.key if template.topic else "",
        "variants": template.variants,
        "brand": {
            name: getattr(brand, name)
            for name in (
                "name",
                "sender",
                "reply_to",
                "postal_address",
                "website",
                "logo_url",
                "colours",
                "fonts",
                "button_radius",
                "legal",
            )
        },  # fmt: skip
    }
    # What is not used is not named, so that versions frozen before there was any stay the same.
    if reusable := template.reusable():
        content["reusable"] = reusable
    rules = UtmRules.objects.first()
    names = {
        "template": template.key,
        "topic": template.topic.key if template.topic else "",
        "class": template.message_class,
    }
    if rules and (tags := rules.tags(own=template.utm, names=names, website=brand.website)):
        content["utm"] = tags
    return content


def digest_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def freeze(template: Template, brand: Brand | None, now: datetime) -> TemplateVersion:
    """The version of a template as it stands now; made when the first message is written from it. Raises NoBrand."""
    content = content_of(template, brand)
    version, _ = TemplateVersion.objects.get_or_create(
        template=template, digest=digest_of(content), defaults={"content": content, "created_at": now}
    )
    return version


def language_for(content: Mapping[str, Any], wanted: str) -> str:
    """The variant for a person's language: the very one, else its base language, else the template's own."""
    variants = content["variants"]
    wanted = wanted.replace("_", "-")
    for candidate in (wanted, wanted.lower(), wanted.split("-")[0].lower()):
        if candidate in variants:
            return candidate
    return content["language"]


def compiled(content: dict[str, Any], language: str) -> Skeleton | Text:
    """The compiled form of one language, by its channel. Raises what `Skeleton` raises."""
    return Text(content, language) if content.get("channel") else Skeleton(content, language)


@lru_cache(maxsize=512)
def _compiled(digest: str, language: str, base_url: str, content: str) -> Skeleton | Text:
    return compiled(json.loads(content), language)


def skeleton(version: TemplateVersion, language: str) -> Skeleton | Text:
    """The compiled form of one language of a version. Raises what `Skeleton` raises."""
    # BASE_URL stands in the compiled bytes.
    return _compiled(version.digest, language, settings.BASE_URL, json.dumps(version.content))
