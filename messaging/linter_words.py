"""What a mail says, and how: words we do not use, terms of the glossary, tone, and what spam filters weigh."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from messaging.linter_rules import LONGEST_SUBJECT, Problem, problem

# Words by which one hears whether a text says “vy” or “ty”, “Sie” or “du”: (familiar, formal). Only such as are hardly
# ever anything else; what is missing here is not heard. Capitals count in German alone.
_ADDRESS: dict[str, tuple[str, str]] = {
    "cs": (
        "ty tebe tobě tebou tvůj tvoje tvá tvé tvého tvému tvým tvých tvoji jsi můžeš máš chceš budeš víš",
        "vy vás vám vámi váš vaše vaši vašeho vašemu vaší vašim vašich vašimi jste můžete máte chcete budete víte",
    ),
    "sk": (
        "teba tebe tebou tvoj tvoja tvoje tvojho tvojej tvojich môžeš máš chceš budeš vieš",
        "vás vám vami váš vaša vaše vášho vašej vašich môžete máte chcete budete viete",
    ),
    "pl": (
        "ciebie cię tobie tobą twój twoja twoje twojego twojej twoim twoich możesz masz chcesz jesteś będziesz wiesz",
        "pan pani pana panu panią panem państwo państwa państwu państwem",
    ),
    "de": ("du dich dir dein deine deinen deinem deiner", "Sie Ihnen Ihr Ihre Ihren Ihrem Ihrer"),
    "fr": ("tu toi ton ta tes", "vous votre vos"),
    "es": ("tú ti tu tus contigo", "usted ustedes"),
}
HEARD = tuple(_ADDRESS)
_SENTENCE = re.compile(r"[.!?…]+(?:\s+|$)|\n+")
_WORD = re.compile(r"[^\W\d_][\w’'-]*")
_ANSWER = re.compile(r"\s*((?:re|fwd?|aw|odp|pd)\s*:)", re.IGNORECASE)


def by_language(value: Any, language: str) -> list[Any]:
    """What a setting says for a language: a list is for all of them; in a mapping, "" is."""
    if isinstance(value, Mapping):
        keys = dict.fromkeys(("", language.split("-")[0], language))
        return [one for key in keys for one in _items(value.get(key))]
    return list(value or ())


def _items(value: Any) -> list[Any]:
    return list(value.items()) if isinstance(value, Mapping) else list(value or ())


@lru_cache(maxsize=2048)
def pattern(word: str) -> re.Pattern[str]:
    """A whole word, or words; one that ends with * also with whatever ending, as languages with cases need it."""
    word = unicodedata.normalize("NFC", word).strip()
    stem = word.rstrip("*")
    ending = r"\w*" if stem != word else ""
    words = r"\s+".join(re.escape(part) for part in stem.split())
    return re.compile(rf"(?<!\w){words}{ending}(?!\w)", re.IGNORECASE)


def of_words(
    texts: Mapping[str, Sequence[str]], sources: Mapping[str, str], language: str, voice: Mapping[str, Any]
) -> Iterator[Problem]:
    """Words we do not use, and terms that the glossary has otherwise. `texts` is what is seen, by field; `sources` is
    what was written, for the line."""
    banned = [str(one) for one in by_language(voice.get("banned_words"), language) if str(one).strip("* ")]
    glossary = by_language(voice.get("glossary"), language)
    for name, stretches in texts.items():
        for word in banned:
            if found := _first(pattern(word), stretches):
                yield _at("banned_word", name, language, sources, found, word=found)
        for term, never in glossary:
            wrong = [pattern(one) for one in never if str(one).strip("* ")]
            for found in _misspelt(str(term), wrong, stretches):
                yield _at("glossary", name, language, sources, found, word=found, term=term)


def _at(said: str, name: str, language: str, sources: Mapping[str, str], found: str, **values: Any) -> Problem:
    source = unicodedata.normalize("NFC", sources.get(name, ""))
    place = re.search(r"(?<!\w)" + r"\s+".join(map(re.escape, found.split())) + r"(?!\w)", source)
    line = source.count("\n", 0, place.start()) + 1 if place else 1
    return problem(said, name, language, excerpt=found, line=line, **values)


def _first(wanted: re.Pattern[str], stretches: Sequence[str]) -> str:
    for text in stretches:
        if match := wanted.search(text):
            return match[0]
    return ""


def _misspelt(term: str, wrong: Sequence[re.Pattern[str]], stretches: Sequence[str]) -> Iterator[str]:
    """The ways in which a term is written that are not ours, each once; a capital at the beginning is."""
    own = {term, term[:1].upper() + term[1:]}
    told = set()
    for text in stretches:
        for wanted in (*wrong, pattern(term)):
            for match in wanted.finditer(text):
                if " ".join(match[0].split()) not in own and match[0] not in told:
                    told.add(match[0])
                    yield match[0]


def of_tone(
    texts: Mapping[str, Sequence[str]], sources: Mapping[str, str], language: str, voice: Mapping[str, Any]
) -> Iterator[Problem]:
    """The limits of the brand's page: the length of sentences, exclamation marks, capitals, and how we say “you”."""
    tone = voice.get("tone") or {}
    body = next((name for name in texts if name.endswith("body")), "body")
    if most := tone.get("words_per_sentence"):
        longest = max(sentences(texts[body]), key=lambda one: len(one.split()), default="")
        if len(longest.split()) > most:
            yield problem("tone.sentence", body, language, excerpt=longest[:60], count=len(longest.split()), most=most)
    figures = measure(texts)
    most = tone.get("exclamation_marks")
    if most is not None and figures["exclamation_marks"] > most:
        yield problem("tone.exclamation", body, language, count=figures["exclamation_marks"], most=most)
    most = tone.get("capitals")
    if most is not None and figures["capitals"] > most:
        yield problem("tone.capitals", body, language, count=figures["capitals"], most=most)
    wanted = (tone.get("address") or {}).get(language.split("-")[0])
    if wanted in ("formal", "informal"):
        for name, stretches in texts.items():
            heard = address_of(stretches, language)[0 if wanted == "formal" else 1]
            if heard:
                yield _at(f"tone.{wanted}", name, language, sources, heard[0])


def sentences(stretches: Sequence[str]) -> list[str]:
    """The sentences of a text; each stretch, such as a heading or a button, ends one."""
    return [one.strip() for text in stretches for one in _SENTENCE.split(text) if one and one.strip()]


def measure(texts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The figures of a text's tone: words per sentence on average, exclamation marks, per cent of capitals."""
    stretches = [text for one in texts.values() for text in one]
    found = sentences(stretches)
    letters = [one for text in stretches for one in text if one.isalpha()]
    return {
        "sentences": len(found),
        "words": sum(len(one.split()) for one in found),
        "exclamation_marks": sum(text.count("!") for text in stretches),
        "capitals": round(100 * sum(one.isupper() for one in letters) / len(letters)) if letters else 0,
    }


def address_of(stretches: Sequence[str], language: str) -> tuple[list[str], list[str]]:
    """The words that say “you” familiarly, and those that say it formally; two empty lists where we cannot hear it."""
    base = language.split("-")[0]
    familiar, formal = (set(one.split()) for one in _ADDRESS.get(base, ("", "")))
    heard: tuple[list[str], list[str]] = ([], [])
    for text in stretches:
        for place, word in enumerate(_WORD.findall(text)):
            # In German the first word of a sentence is written with a capital, whatever it is.
            told = word if base == "de" and (place or word == "Ihnen") else word.lower()
            if told in familiar or (base == "de" and word.lower() in familiar):
                heard[0].append(word)
            elif told in formal:
                heard[1].append(word)
    return heard


def of_subject(subject: str, preheader: str, language: str, names: Mapping[str, str], kind: str) -> Iterator[Problem]:
    """What stands in the list of mails before anybody opens one."""
    name = names["subject"]
    if len(subject) > LONGEST_SUBJECT:
        yield problem("subject_length", name, language, count=len(subject), most=LONGEST_SUBJECT)
    letters = [one for one in subject if one.isalpha()]
    if len(letters) >= 6 and all(one.isupper() for one in letters):
        yield problem("spam_hint.capitals", name, language, excerpt=subject[:60])
    if subject.count("!") > 1:
        yield problem("spam_hint.exclamation", name, language, excerpt=subject[:60])
    if match := _ANSWER.match(subject):
        yield problem("spam_hint.reply", name, language, excerpt=match[1])
    if kind == "marketing" and not preheader.strip():
        yield problem("preheader_missing", names["preheader"], language)


def of_pictures(pictures: int, stretches: Sequence[str], language: str, name: str) -> Iterator[Problem]:
    """Whether there is anything to read beside the pictures."""
    if pictures and sum(len(text.split()) for text in stretches) < 10:
        yield problem("spam_hint.picture", name, language)
