"""The linter over templates as they stand in the database: at save, at publish, and over all live messages."""

import json
from collections.abc import Iterable
from functools import lru_cache
from html import unescape
from typing import Any

from django.utils.translation import get_language

from contacts.models import Field
from messaging import deadlinks, linter
from messaging.linter import Around, Problem
from messaging.linter_rules import problem
from messaging.models import Brand, Template
from messaging.versions import NoBrand, content_of


def around(brand: Brand | None) -> Around:
    """What the linter is told as of now: the brand's voice, contacts' own fields, and dead links."""
    return Around(
        voice=brand.voice if brand else {},
        fields=frozenset(Field.objects.values_list("key", flat=True)),
        dead=deadlinks.known(),
    )


def problems_of(template: Template, brand: Brand | None = None, told: Around | None = None) -> list[Problem]:
    """What is wrong with a template as it stands now, also one that is not saved. For many, give brand and `told`."""
    if told is None:
        brand = brand or Brand.objects.first()
        told = around(brand)
    try:
        content = content_of(template, brand)
    except NoBrand:
        content = content_of(template, Brand(**linter.PLACEHOLDER_BRAND))
        return [problem("no_brand", "brand", template.language), *check(content, told)]
    return check(content, told)


def check(content: dict[str, Any], told: Around) -> list[Problem]:
    """As `linter.check`, and remembered: the same text is asked at each step of whoever edits a journey."""
    return list(
        _remembered(
            json.dumps(content, sort_keys=True, ensure_ascii=False),
            json.dumps(told.voice, sort_keys=True, ensure_ascii=False),
            told.fields,
            # Of all the dead links of the world only its own concern a text.
            tuple(sorted((url, why) for url, why in told.dead.items() if any(url in one for one in _bodies(content)))),
            get_language() or "",
        )
    )


def _bodies(content: dict[str, Any]) -> Iterable[str]:
    # In HTML, an & in an address is written &amp;.
    return [unescape(str(variant.get("body") or "")) for variant in content["variants"].values()]


@lru_cache(maxsize=128)
def _remembered(
    content: str, voice: str, fields: frozenset[str] | None, dead: tuple[tuple[str, str], ...], language: str
) -> tuple[Problem, ...]:
    told = Around(voice=json.loads(voice), fields=fields, dead=dict(dead))
    return tuple(linter.check(json.loads(content), told))
