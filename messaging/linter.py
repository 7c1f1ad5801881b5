"""What is wrong with a text before anybody gets it: problems with their field and line."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from messaging import blocks, liquid, markup

# What everybody who gets mail has; all else may be missing.
ALWAYS = {"contact.email", "contact.id"}
_PLACEHOLDER_BRAND = {"name": "Brand", "sender": "Brand <brand@brand.example>", "postal_address": "Address"}


@dataclass(frozen=True)
class Problem:
    """Something wrong; `level` is error (can not be saved) or warning."""

    level: str
    field: str
    sentence: str


def check_text(source: str, field: str, *, is_html: bool) -> list[Problem]:
    """Liquid that can not be read, and values that may be missing without a default."""
    try:
        template = liquid.parse(source, is_html=is_html)
    except liquid.RenderError as error:
        return [Problem("error", field, str(error))]
    found = []
    for token in liquid.tokens(template):
        if token.path.startswith("contact.") and token.path not in ALWAYS and not token.has_default:
            found.append(
                Problem(
                    "error",
                    field,
                    _(
                        "Line %(line)d: %(path)s may be missing. Say what stands there then: "
                        '{{ %(path)s | default: "…" }}.'
                    )
                    % {"line": token.line, "path": token.path},
                )
            )
    return found


def check_blocks(body: str, field: str) -> list[Problem]:
    """What is wrong with blocks and their texts; each sentence begins with the path of its block."""
    if not body.strip():
        return []  # said already
    try:
        written = blocks.read(body)
    except blocks.BlocksError as error:
        return [Problem("error", field, str(one)) for one in error.wrong]
    return [
        Problem(one.level, field, f"{path}: {one.sentence}")
        for path, text in blocks.texts(written)
        for one in check_text(text, field, is_html=True)
    ]


def check(
    *,
    variants: Mapping[str, Mapping[str, Any]],
    body_format: str,
    message_class: str = "marketing",
    banned_words: Sequence[str] = (),
    own_language: str = "en",
    reusable: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Problem]:
    """All problems of a template, in each of its languages. The fields of translations read `translations.cs.body`."""
    found: list[Problem] = []
    for language, variant in variants.items():
        prefix = "" if language == own_language else f"translations.{language}."
        texts = {name: str(variant.get(name) or "") for name in ("subject", "preheader", "body")}
        errors = []
        if "\n" in texts["subject"].strip() or "\r" in texts["subject"].strip():
            errors.append(Problem("error", f"{prefix}subject", _("A subject is one line.")))
        for name in ("subject", "body"):
            if not texts[name].strip():
                errors.append(Problem("error", f"{prefix}{name}", _("There is no text.")))
        for name, text in texts.items():
            if name == "body" and body_format == "blocks":
                errors += check_blocks(text, f"{prefix}{name}")
            else:
                errors += check_text(text, f"{prefix}{name}", is_html=name != "subject")
        if not errors:
            content = {
                "variants": {language: texts},
                "brand": _PLACEHOLDER_BRAND,
                "body_format": body_format,
                "message_class": message_class,
                "reusable": reusable or {},
            }
            try:
                letter = markup.build(content, language)
                liquid.parse(letter.html, is_html=True)
            except (markup.MarkupError, liquid.RenderError) as error:
                errors.append(Problem("error", f"{prefix}body", str(error)))
        found += errors
        for word in banned_words:
            pattern = re.compile(rf"(?<!\w){re.escape(str(word))}(?!\w)", re.IGNORECASE)
            for name, text in texts.items():
                if match := pattern.search(text):
                    line = text.count("\n", 0, match.start()) + 1
                    found.append(
                        Problem(
                            "warning",
                            f"{prefix}{name}",
                            _("Line %(line)d: we do not use the word “%(word)s”.") % {"line": line, "word": word},
                        )
                    )
    return found
