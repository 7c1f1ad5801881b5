"""What may stand in a brand kit, and what is wrong with one. Pure: no database."""

import re
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from messaging import colours
from messaging.linter_words import HEARD

# The colours of a kit, light and dark, and upon which of the others each must be readable.
COLOURS = {
    "primary": gettext_lazy("main colour, also of buttons"),
    "button_text": gettext_lazy("text on buttons"),
    "text": gettext_lazy("text"),
    "link": gettext_lazy("links"),
    "background": gettext_lazy("background"),
    "dark_primary": gettext_lazy("main colour, dark"),
    "dark_text": gettext_lazy("text, dark"),
    "dark_link": gettext_lazy("links, dark"),
    "dark_background": gettext_lazy("background, dark"),
}
UPON = {
    "button_text": "primary",
    "text": "background",
    "link": "background",
    "dark_text": "dark_background",
    "dark_link": "dark_background",
}
# What stands where a kit says nothing; the mail's frame has the same.
PLAIN = {
    "primary": "#1a56db", "button_text": "#ffffff", "text": "#1f2328", "link": "#1a56db", "background": "#ffffff",
    "dark_primary": "#8ab4f8", "dark_text": "#e8eaed", "dark_link": "#8ab4f8", "dark_background": "#1b1d21",
}  # fmt: skip
FONTS = {"body": gettext_lazy("font of text"), "heading": gettext_lazy("font of headings")}
# Every mail program has these; a stack ends in one, so that nobody sees whatever happens to be there.
GENERIC = ("serif", "sans-serif", "monospace", "cursive", "system-ui")
TONE = {
    "words_per_sentence": (gettext_lazy("words in a sentence, at most"), 5, 100),
    "exclamation_marks": (gettext_lazy("exclamation marks in a mail, at most"), 0, 50),
    "capitals": (gettext_lazy("per cent of capitals, at most"), 1, 100),
}
MOST_RADIUS = 40
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z]{2,4})?")
_FAMILY = re.compile(r"[\w -]{1,60}|\"[\w -]{1,60}\"|'[\w -]{1,60}'")


def contrasts(kit: Mapping[str, str]) -> dict[str, float]:
    """How well each colour is read upon the one it stands upon, by its name."""
    said = {**PLAIN, **{name: value for name, value in kit.items() if value}}
    found = {}
    for name, upon in UPON.items():
        one, other = colours.read(said[name]), colours.read(said[upon])
        if one and other:
            found[name] = colours.contrast(one, other)
    return found


def wrong_with(
    *, colours_: Any, fonts: Any, languages: Any, banned_words: Any, glossary: Any, tone: Any, legal: Any
) -> dict[str, str]:
    """The first thing that is wrong with each part of a kit, as a sentence, by the part's name."""
    asked = {
        "colours": _colours(colours_),
        "fonts": _fonts(fonts),
        "languages": wrong_languages(languages),
        "banned_words": _banned_words(banned_words),
        "glossary": _glossary(glossary),
        "tone": _tone(tone),
        "legal": _legal(legal),
    }
    return {name: sentence for name, sentence in asked.items() if sentence}


def _colours(kit: Any) -> str:
    if not isinstance(kit, Mapping):
        return _("Write colours as names with their values, such as primary: “#0b6”.")
    for name, value in kit.items():
        if name not in COLOURS:
            return _("There is no colour “%(name)s”; known are: %(known)s.") % {
                "name": name, "known": ", ".join(COLOURS),
            }  # fmt: skip
        if not isinstance(value, str) or colours.read(value) is None:
            return _("%(name)s: “%(value)s” is no colour. Write it as #00bb66.") % {"name": name, "value": value}
    return ""


def _fonts(fonts: Any) -> str:
    if not isinstance(fonts, Mapping):
        return _("Write fonts as body and heading with their families.")
    for name, stack in fonts.items():
        if name not in FONTS:
            return _("There is no font “%(name)s”; known are: %(known)s.") % {"name": name, "known": ", ".join(FONTS)}
        if sentence := wrong_font(stack):
            return f"{name}: {sentence}"
    return ""


def wrong_font(stack: Any) -> str:
    """What is wrong with one stack of families."""
    families = [one.strip() for one in stack.split(",")] if isinstance(stack, str) else [""]
    if not all(_FAMILY.fullmatch(one) for one in families):
        return _("Write families with commas between, such as Georgia, serif.")
    if families[-1] not in GENERIC:
        return _("The last family must be one that every mail program has: %(known)s.") % {"known": ", ".join(GENERIC)}
    return ""


def is_language(key: Any) -> bool:
    return isinstance(key, str) and bool(_LANGUAGE.fullmatch(key))


def _no_language(key: Any) -> str:
    return _("“%(key)s” is no language. Write it as cs or pt-BR.") % {"key": key}


def wrong_languages(languages: Any) -> str:
    if not isinstance(languages, list):
        return _("Write a list of languages, such as en, cs.")
    wrong = [one for one in languages if not is_language(one)]
    return _no_language(wrong[0]) if wrong else ""


def _banned_words(words: Any) -> str:
    """A list is for all languages; else lists by language, “” for all."""
    if isinstance(words, Mapping):
        for language, some in words.items():
            if language != "" and not is_language(language):
                return _no_language(language)
            if sentence := wrong_words(some):
                return f"{language}: {sentence}"
        return ""
    return wrong_words(words)


def wrong_words(words: Any) -> str:
    if not isinstance(words, list):
        return _("Write a list of words, or lists by language.")
    for word in words:
        if not isinstance(word, str) or not word.strip("* ") or "*" in word.rstrip("*") or len(word) > 80:
            return _("“%(word)s” is no word. A star may stand at its end, for any ending.") % {"word": word}
    return ""


def _glossary(glossary: Any) -> str:
    if not isinstance(glossary, Mapping):
        return _("Write the glossary by language: each term with the ways in which we do not write it.")
    for language, terms in glossary.items():
        if language != "" and not is_language(language):
            return _no_language(language)
        if sentence := wrong_terms(terms):
            return f"{language}: {sentence}" if language else sentence
    return ""


def wrong_terms(terms: Any) -> str:
    """What is wrong with the glossary of one language."""
    if not isinstance(terms, Mapping):
        return _("Write each term with the ways in which we do not write it.")
    for term, never in terms.items():
        if not isinstance(term, str) or not term.strip() or len(term) > 80 or "*" in term:
            return _("“%(word)s” is no term.") % {"word": term}
        if sentence := wrong_words(never):
            return f"{term}: {sentence}"
    return ""


def _tone(tone: Any) -> str:
    if not isinstance(tone, Mapping):
        return _("Write the limits by name.")
    for name, value in tone.items():
        if name == "address":
            if not isinstance(value, Mapping):
                return _("Write the address by language, such as cs: formal.")
            for language, said in value.items():
                if language not in HEARD:
                    return _("address: in “%(language)s” nobody can hear it; known are: %(known)s.") % {
                        "language": language, "known": ", ".join(HEARD),
                    }  # fmt: skip
                if said not in ("formal", "informal"):
                    return _("address: write formal or informal.")
        elif name not in TONE:
            return _("There is no limit “%(name)s”; known are: %(known)s.") % {
                "name": name, "known": ", ".join([*TONE, "address"]),
            }  # fmt: skip
        else:
            _label, least, most = TONE[name]
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                return _("%(name)s: write a whole number from %(least)d to %(most)d.") % {
                    "name": name, "least": least, "most": most,
                }  # fmt: skip
    return ""


def _legal(legal: Any) -> str:
    if not isinstance(legal, Mapping):
        return _("Write the legal text by language.")
    for language, text in legal.items():
        if language != "" and not is_language(language):
            return _no_language(language)
        if not isinstance(text, str):
            return _("%(language)s: write a text.") % {"language": language}
    return ""
