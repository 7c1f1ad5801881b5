"""What is wrong with a message before anybody gets it.

`check` is a pure function of a frozen content (see `messaging.versions.content_of`): no database, no network. What it
cannot know by itself, the brand's voice, the fields of contacts and the links that are dead, it is told.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import override

from messaging import blocks, linter_looks, linter_words, liquid, markup, texts
from messaging.linter_rules import RULES, Problem, Rule, in_words, problem

__all__ = ["ALWAYS", "PLACEHOLDER_BRAND", "RULES", "Around", "Problem", "Rule", "check", "in_words"]

# What everybody who gets mail has; all else may be missing.
ALWAYS = {"contact.email", "contact.id"}
# What a person has besides the fields that people made.
OWN = {"email", "id", "first_name", "last_name", "salutation", "language", "country", "job_title", "company"}
# What a text may print besides a person: our own addresses, the brand, and what journeys hand on.
ROOTS = {"contact", "brand", "sender", "links", "tracked", "moment", "offer", "signup", "coupon", "forloop"}
# For texts that are looked at before there is a brand.
PLACEHOLDER_BRAND = {"name": "Brand", "sender": "Brand <brand@brand.example>", "postal_address": "Address"}


@dataclass(frozen=True)
class Around:
    """What the linter is told. `voice` has `banned_words`, `glossary`, `tone` and `languages` (see `Brand.voice`).

    `fields` are the keys of contacts' own fields; None: not asked. `dead` says of addresses why they do not work.
    """

    voice: Mapping[str, Any] = field(default_factory=dict)
    fields: frozenset[str] | None = None
    dead: Mapping[str, str] = field(default_factory=dict)


def check(content: Mapping[str, Any], around: Around | None = None) -> list[Problem]:
    """All problems of a frozen content, in each of its languages, errors first."""
    around = around or Around()
    found: list[Problem] = []
    of_one = _of_language if content.get("channel", "email") == "email" else _of_plain_text
    for language in content["variants"]:
        found += of_one(content, language, around)
    found += _of_languages(content, around.voice)
    return sorted(found, key=lambda one: one.severity != "error")


def names_of(content: Mapping[str, Any], language: str) -> dict[str, str]:
    """How the fields of a language are called: those of translations read `translations.cs.body`."""
    prefix = "" if language == content["language"] else f"translations.{language}."
    return {name: f"{prefix}{name}" for name in ("subject", "preheader", "body")}


def _of_language(content: Mapping[str, Any], language: str, around: Around) -> list[Problem]:
    names = names_of(content, language)
    variant = content["variants"][language]
    texts = {name: str(variant.get(name) or "") for name in names}
    found = list(_of_form(texts, names, language))
    for name, text in texts.items():
        if content["body_format"] == "blocks" and name == "body":
            found += _of_blocks(text, names[name], language, around)
        else:
            found += _of_liquid(text, names[name], language, around, is_html=name != "subject")
    if any(one.is_unsendable for one in found):
        return found
    try:
        letter = markup.build({**content, "variants": {language: texts}}, language)
        liquid.parse(letter.html, is_html=True)
    except markup.MarkupError as error:
        return [*found, problem("markup", names["body"], language, reason=str(error))]
    except liquid.RenderError as error:
        return [*found, problem("liquid", names["body"], language, reason=str(error))]
    look = linter_looks.look_at(letter)
    said = said_in(content, language, look)
    sources = {names[name]: text for name, text in texts.items()}
    body = names["body"]
    subject, preheader = (said[names[name]][0] if said[names[name]] else "" for name in ("subject", "preheader"))
    # Only MJML's own style sheet leaves with the mail; all others are where they apply.
    styled = linter_looks.look_at(letter, with_sheets=True) if content["body_format"] == "mjml" else look
    found += linter_looks.of_the_law(styled, content, language, body)
    found += linter_looks.of_looks(look, language, body, texts["body"])
    found += linter_looks.of_links(look, language, body, texts["body"], around.dead)
    found += linter_looks.of_size(letter, look, language, body)
    found += linter_looks.of_brand(texts["body"], content["brand"], language, body)
    found += linter_words.of_subject(subject, preheader, language, names, content["message_class"])
    found += linter_words.of_words(said, sources, language, around.voice)
    found += linter_words.of_tone(said, sources, language, around.voice)
    own = [one for one in look.pictures if one[0] != content["brand"].get("logo_url")]
    found += linter_words.of_pictures(len(own), said[body], language, body)
    return found


def _of_plain_text(content: Mapping[str, Any], language: str, around: Around) -> list[Problem]:
    """Of a message that is no mail: what can not be sent, what nobody knows, and an SMS that is too long."""
    names = names_of(content, language)
    sources = {name: str(content["variants"][language].get(name) or "") for name in ("subject", "body")}
    found = [problem("empty", names["body"], language)] if not sources["body"].strip() else []
    for name, text in sources.items():
        found += _of_liquid(text, names[name], language, around, is_html=False)
    if any(one.is_unsendable for one in found):
        return found
    if content["channel"] == "sms":
        length = texts.counted(sources["body"], language=language, message_class=content["message_class"])
        if length.parts > texts.MOST_PARTS:
            found.append(problem("too_many_parts", names["body"], language, reason=texts.too_long(length)))
    said = said_plainly(content, language)
    named = {names[name]: text for name, text in sources.items()}
    found += linter_words.of_words(said, named, language, around.voice)
    return found


def said_in(content: Mapping[str, Any], language: str, look: linter_looks.Look) -> dict[str, list[str]]:
    """What a language of a message says to people, by field: without Liquid, markup and the brand's frame."""
    names, variant, brand = names_of(content, language), content["variants"][language], content["brand"]
    legal = (brand.get("legal") or {}).values()
    with override(language):
        frame = [brand["name"], brand["postal_address"], *map(str, legal), "·", _("Unsubscribe")]
    flat = {
        name: linter_looks.plain(linter_looks.without_liquid(str(variant.get(name) or ""), is_html=False))
        for name in ("subject", "preheader")
    }
    return {
        names["subject"]: [flat["subject"]] if flat["subject"] else [],
        names["preheader"]: [flat["preheader"]] if flat["preheader"] else [],
        names["body"]: linter_looks.words_of(look, frame),
    }


def said_plainly(content: Mapping[str, Any], language: str) -> dict[str, list[str]]:
    """The same of a message that is no mail."""
    names, variant = names_of(content, language), content["variants"][language]
    flat = {
        name: linter_looks.plain(linter_looks.without_liquid(str(variant.get(name) or ""), is_html=False))
        for name in ("subject", "body")
    }
    return {names[name]: [text] if text else [] for name, text in flat.items()}


def _of_form(texts: Mapping[str, str], names: Mapping[str, str], language: str) -> Iterator[Problem]:
    if any(one in texts["subject"].strip() for one in "\r\n"):
        yield problem("subject_line", names["subject"], language)
    for name in ("subject", "body"):
        if not texts[name].strip():
            yield problem("empty", names[name], language)


def _of_liquid(source: str, name: str, language: str, around: Around, *, is_html: bool) -> Iterator[Problem]:
    """Liquid that cannot be read, values that may be missing without a default, and such as nobody has."""
    try:
        template = liquid.parse(source, is_html=is_html)
    except liquid.RenderError as error:
        yield problem("liquid", name, language, reason=str(error))
        return
    told = set()
    for token in liquid.tokens(template):
        is_contact = token.path.startswith("contact.")
        if is_contact and token.path not in ALWAYS and not token.has_default:
            yield problem("token_without_default", name, language, excerpt=token.path, line=token.line, path=token.path)
        root, _dot, rest = token.path.partition(".")
        is_own = rest.split(".")[0] in OWN or around.fields is None or rest.split(".")[0] in around.fields
        is_known = is_own if is_contact else root in ROOTS or "." not in token.path
        if not is_known and token.path not in told:
            told.add(token.path)
            yield problem("unknown_token", name, language, excerpt=token.path, line=token.line, path=token.path)


def _of_blocks(body: str, name: str, language: str, around: Around) -> Iterator[Problem]:
    """What is wrong with blocks and the Liquid in each of their texts; every sentence begins with a block's path."""
    if not body.strip():
        return  # said already
    try:
        written = blocks.read(body)
    except blocks.BlocksError as error:
        for one in error.wrong:
            yield problem("markup", name, language, excerpt=one.path, reason=str(one))
        return
    if not written:
        yield problem("empty", name, language)
    for path, text in blocks.texts(written):
        for found in _of_liquid(text, name, language, around, is_html=True):
            yield replace(found, values={**found.values, "block": path})


def _of_languages(content: Mapping[str, Any], voice: Mapping[str, Any]) -> Iterator[Problem]:
    """Languages that we write in and this message does not speak."""
    own, variants = content["language"], content["variants"]
    bases = {language.split("-")[0] for language in variants}
    for language in voice.get("languages") or ():
        if language not in variants and language.split("-")[0] not in bases:
            yield problem("missing_translation", f"translations.{language}.body", language, own=own)
    for language, variant in variants.items():
        if language == own:
            continue
        for name in ("subject", "body"):
            # A subject may be but a name, the same everywhere; three words are a sentence.
            said = str(variant.get(name) or "")
            if said == variants[own].get(name) and (name == "body" or len(said.split()) > 2):
                yield problem("missing_translation.same", f"translations.{language}.{name}", language, own=own)
