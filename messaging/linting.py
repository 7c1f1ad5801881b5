"""The linter over templates as they stand in the database: at save, at publish, and over all live messages."""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.utils.translation import get_language

from contacts.models import Field
from messaging import deadlinks, linter
from messaging.linter import Around, Problem
from messaging.linter_rules import problem
from messaging.models import Brand, Template
from messaging.versions import NoBrand, content_of


@dataclass(frozen=True)
class Asked:
    """What the database says beside a template, asked once for many: the brand, and what the linter is told."""

    brand: Brand | None
    around: Around


def ask() -> Asked:
    """As of now: the brand and its voice, contacts' own fields, and dead links."""
    brand = Brand.objects.first()
    told = Around(
        voice=brand.voice if brand else {},
        fields=frozenset(Field.objects.values_list("key", flat=True)),
        dead=deadlinks.known(),
    )
    return Asked(brand, told)


def problems_of(template: Template, asked: Asked | None = None) -> list[Problem]:
    """What is wrong with a template as it stands, also with one that is not saved yet."""
    asked = asked or ask()
    try:
        content = content_of(template, asked.brand)
    except NoBrand:
        content = content_of(template, Brand(**linter.PLACEHOLDER_BRAND))
        return [problem("no_brand", "brand", template.language), *check(content, asked.around)]
    return check(content, asked.around)


def check(content: dict[str, Any], told: Around) -> list[Problem]:
    """As `linter.check`, and remembered: the same text is asked at each step of whoever edits a journey."""
    return list(
        _remembered(
            json.dumps(content, sort_keys=True, ensure_ascii=False),
            json.dumps(told.voice, sort_keys=True, ensure_ascii=False),
            told.fields,
            tuple(sorted(told.dead.items())),
            get_language() or "",
        )
    )


@lru_cache(maxsize=128)
def _remembered(
    content: str, voice: str, fields: frozenset[str] | None, dead: tuple[tuple[str, str], ...], language: str
) -> tuple[Problem, ...]:
    told = Around(voice=json.loads(voice), fields=fields, dead=dict(dead))
    return tuple(linter.check(json.loads(content), told))
