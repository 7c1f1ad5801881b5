"""Where the brand drifts: what live messages say and how, read by the linter's round, put together for a page."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from messaging import colours, linter, linter_looks, linter_words, markup
from messaging.models import Brand, LintFinding, Reading


def read(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a message says that a brand could drift by: colours and fonts that are not ours, and its tone."""
    brand = content["brand"]
    ours = {one for one in map(colours.read, map(str, (brand.get("colours") or {}).values())) if one}
    known = {
        family.strip(" \"'").lower() for stack in (brand.get("fonts") or {}).values() for family in stack.split(",")
    }
    found: Counter[str] = Counter()
    fonts: Counter[str] = Counter()
    # A translation that says nothing of its own has the same text: read once.
    for body in {str(variant.get("body") or "") for variant in content["variants"].values()}:
        for colour, _line in linter_looks.written_colours(body):
            if colour not in ours and not colours.is_neutral(colour):
                found[colours.written(colour)] += 1
        for stack, _line in linter_looks.written_fonts(body):
            family = stack.split(",")[0].strip(" \"'")
            if family.lower() not in known:
                fonts[family] += 1
    tone = {}
    for language in content["variants"]:
        try:
            said = _said(content, language)
        except markup.MarkupError:
            continue  # the linter says so itself
        stretches = [text for one in said.values() for text in one]
        familiar, formal = linter_words.address_of(stretches, language)
        tone[language] = linter_words.measure(said) | {"familiar": len(familiar), "formal": len(formal)}
    return {"colours": dict(found), "fonts": dict(fonts), "tone": tone}


def _said(content: Mapping[str, Any], language: str) -> dict[str, list[str]]:
    if content.get("channel", "email") != "email":
        return linter.said_plainly(content, language)
    return linter.said_in(content, language, linter_looks.look_at(markup.build(dict(content), language)))


# The page ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Strange:
    """A colour or a font that is not the brand's: how often it is named, and in which messages."""

    name: str
    count: int
    readings: list[Reading]


@dataclass(frozen=True)
class Tone:
    """The tone of a language over all messages that speak it."""

    language: str
    messages: int
    words: float  # in a sentence, on average
    exclamation_marks: float  # in a message, on average
    familiar: int  # messages that say “ty”, and those that say “vy”
    formal: int
    both: int
    is_heard: bool


@dataclass(frozen=True)
class Spelling:
    """A term of the glossary with the other ways in which live messages write it."""

    term: str
    written: dict[str, int]


@dataclass(frozen=True)
class Gap:
    """A message, and for each of our languages whether it speaks it."""

    reading: Reading
    languages: list[tuple[str, bool]]


def strange(readings: Iterable[Reading], what: str) -> list[Strange]:
    """Colours or fonts that are not the brand's, the most frequent first. `what` is `colours` or `fonts`."""
    counts: Counter[str] = Counter()
    where: dict[str, list[Reading]] = {}
    for one in readings:
        for name, count in getattr(one, what).items():
            counts[name] += count
            where.setdefault(name, []).append(one)
    return [Strange(name, count, where[name]) for name, count in counts.most_common(24)]


def tones(readings: Iterable[Reading]) -> list[Tone]:
    """The tone by language: in one, all messages should sound alike."""
    by_language: dict[str, list[dict[str, Any]]] = {}
    for one in readings:
        for language, figures in one.tone.items():
            by_language.setdefault(language, []).append(figures)
    return [
        Tone(
            language=language,
            messages=len(some),
            words=sum(one["words"] for one in some) / max(1, sum(one["sentences"] for one in some)),
            exclamation_marks=sum(one["exclamation_marks"] for one in some) / len(some),
            familiar=sum(bool(one["familiar"]) and not one["formal"] for one in some),
            formal=sum(bool(one["formal"]) and not one["familiar"] for one in some),
            both=sum(bool(one["formal"]) and bool(one["familiar"]) for one in some),
            is_heard=language.split("-")[0] in linter_words.HEARD,
        )
        for language, some in sorted(by_language.items())
    ]


def spellings(findings: Iterable[LintFinding]) -> list[Spelling]:
    """Terms of the glossary that messages write otherwise."""
    found: dict[str, Counter[str]] = {}
    for one in findings:
        if one.rule == "glossary":
            found.setdefault(str(one.values.get("term")), Counter())[one.excerpt] += 1
    return [Spelling(term, dict(counts.most_common())) for term, counts in sorted(found.items())]


def gaps(readings: Iterable[Reading], brand: Brand | None) -> list[Gap]:
    """The messages that do not speak all the languages of the brand."""
    wanted = list(brand.languages) if brand else []
    found = []
    for one in readings:
        spoken = set(one.tone) | {language.split("-")[0] for language in one.tone}
        said = [(language, language in spoken) for language in wanted]
        if not all(is_spoken for _language, is_spoken in said):
            found.append(Gap(one, said))
    return found
