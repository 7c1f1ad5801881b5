"""The rules of the linter: their ids, how grave they are, and what they say."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as values_of
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

ERROR, WARNING = "error", "warning"
# Longer than this, Gmail cuts a mail off, and the way out is at its end.
MOST_BYTES = 102 * 1024
LONGEST_SUBJECT = 60


@dataclass(frozen=True)
class Rule:
    """`id` never changes: findings, docs and other systems know a rule by it. What is unsendable is refused at save."""

    id: str
    severity: str
    title: str | Promise
    mend: str | Promise
    is_unsendable: bool = False


RULES: dict[str, Rule] = {
    rule.id: rule
    for rule in (
        Rule("liquid", ERROR, _("Liquid that cannot be read"), _("Mend the line that is named."), True),
        Rule("markup", ERROR, _("Markup that cannot become a mail"), _("Mend the markup, or leave it out."), True),
        Rule("empty", ERROR, _("No text"), _("Write a subject and a text in every language."), True),
        Rule("subject_line", ERROR, _("A subject of several lines"), _("Write the subject in one line."), True),
        Rule(
            "token_without_default", ERROR, _("A value without a default"),
            _("Say what stands there where the value is missing: {{ contact.x | default: \"…\" }}."), True,
        ),
        Rule("too_many_parts", ERROR, _("Too long for an SMS"), _("Shorten the text."), True),
        Rule("no_brand", ERROR, _("No brand"), _("Fill in the brand's name, sender and postal address.")),
        Rule(
            "no_postal_address", ERROR, _("No postal address to be seen"),
            _("Fill in the brand's address, and let nothing hide the footer."),
        ),
        Rule("no_unsubscribe", ERROR, _("No way out to be seen"), _("Let nothing hide the links of the footer.")),
        Rule("legal_block_missing", ERROR, _("Legal text missing"), _("Write it on the brand's page.")),
        Rule("too_large", ERROR, _("Too large"), _("Shorten the mail to less than 102 kB, or Gmail cuts it off.")),
        Rule(
            "contrast", ERROR, _("Text that is hard to read"),
            _("Take a darker or a lighter colour; under 3 it is an error unless the brand's."),
        ),
        Rule("alt_text", ERROR, _("Picture without words"), _("Say in alt what the picture shows.")),
        Rule("dead_link", ERROR, _("Dead link"), _("Correct the address, or leave the link out.")),
        Rule("empty_link", ERROR, _("Link without an address"), _("Give the link an address, or leave it out.")),
        Rule("insecure_link", WARNING, _("Link without encryption"), _("Write https:// in place of http://.")),
        Rule("missing_translation", WARNING, _("Missing translation"), _("Translate the text.")),
        Rule("unknown_token", WARNING, _("Unknown value"), _("Correct the name, or make the field first.")),
        Rule("banned_word", WARNING, _("Word that we do not use"), _("Use another word.")),
        Rule("glossary", WARNING, _("Term written otherwise"), _("Write it as the glossary has it.")),
        Rule("tone", WARNING, _("Out of tone"), _("Keep to the limits on the brand's page.")),
        Rule("subject_length", WARNING, _("Long subject"), _("Say it in 60 characters; phones show fewer.")),
        Rule("preheader_missing", WARNING, _("No preheader"), _("Write the line that stands beside the subject.")),
        Rule("off_brand_colour", WARNING, _("Colour that is not the brand's"), _("Take one of the brand's colours.")),
        Rule("off_brand_font", WARNING, _("Font that is not the brand's"), _("Take one of the brand's fonts.")),
        Rule("spam_hint", WARNING, _("Looks like spam"), _("Write as you would to one person whom you know.")),
    )
}  # fmt: skip

# What a problem says, by its rule and, where a rule knows several, what is wrong.
SENTENCES: dict[str, str | Promise] = {
    "liquid": "%(reason)s",
    "markup": "%(reason)s",
    "empty": _("There is no text."),
    "subject_line": _("A subject is one line."),
    "token_without_default": _(
        'Line %(line)d: %(path)s may be missing. Say what stands there then: {{ %(path)s | default: "…" }}.'
    ),
    "too_many_parts": "%(reason)s",
    "no_brand": _("There is no brand yet: fill in its name, sender and postal address first."),
    "no_postal_address": _(
        "The mail shows no postal address, which the law asks for. Fill it in on the brand's page, and let no style "
        "hide the footer."
    ),
    "no_unsubscribe": _("The mail shows no link to unsubscribe. Let no style hide the footer."),
    "no_unsubscribe.preferences": _("The mail shows no link to the page of preferences. Let no style hide the footer."),
    "legal_block_missing": _("The brand has legal text, but none in this language. Write it on the brand's page."),
    "too_large": _("The mail has %(size)d kB; Gmail cuts off what is beyond 102 kB. Shorten it."),
    "contrast": _(
        "“%(excerpt)s”: %(colour)s on %(background)s has a contrast of %(ratio)s; %(least)s is needed to read it. "
        "Take a darker or a lighter colour."
    ),
    "contrast.brand": _(
        "“%(excerpt)s”: the brand's %(colour)s on %(background)s has a contrast of %(ratio)s; %(least)s is needed to "
        "read it. Choose another colour on the brand's page."
    ),
    "alt_text": _(
        'The picture %(excerpt)s has no alternative text. Say in alt="…" what it shows; alt="" if it is decoration.'
    ),
    "alt_text.link": _(
        "The link to %(excerpt)s is a picture without alternative text, so nobody hears where it leads. Say it in "
        'alt="…".'
    ),
    "dead_link.not_found": _("The page %(excerpt)s is not there. Correct the link, or leave it out."),
    "dead_link.no_host": _("The link %(excerpt)s leads to a name that nobody has. Correct it, or leave it out."),
    "dead_link.no_answer": _("The link %(excerpt)s leads to a server that is silent. Correct it, or leave it out."),
    "dead_link.tls": _("The link %(excerpt)s leads to a server that browsers warn of. Correct it, or leave it out."),
    "dead_link.failing": _("The link %(excerpt)s leads to a page that fails. Correct it, or leave it out."),
    "empty_link": _("The link “%(excerpt)s” has no address. Give it one, or leave it out."),
    "insecure_link": _("Line %(line)d: %(excerpt)s is not encrypted. Write https://."),
    "missing_translation": _("There is no text in this language; whoever speaks it gets “%(own)s”. Add a translation."),
    "missing_translation.same": _("This is still the text of “%(own)s”. Translate it."),
    "unknown_token": _("Line %(line)d: nothing is called %(path)s. Correct its name, or make the field first."),
    "banned_word": _("Line %(line)d: we do not use the word “%(word)s”."),
    "glossary": _("Line %(line)d: we write “%(term)s”, not “%(word)s”."),
    "tone.sentence": _("A sentence has %(count)d words, at most %(most)d are ours: “%(excerpt)s”. Make it two."),
    "tone.exclamation": _("Exclamation marks: %(count)d, at most %(most)d are ours. Leave some out."),
    "tone.capitals": _(
        "Of the letters, %(count)d per cent are capitals, at most %(most)d are ours. Write in small letters."
    ),
    "tone.formal": _("Line %(line)d: “%(excerpt)s” is familiar; in this language we write formally."),
    "tone.informal": _("Line %(line)d: “%(excerpt)s” is formal; in this language we write familiarly."),
    "subject_length": _("The subject has %(count)d characters; of more than %(most)d the end is cut off. Shorten it."),
    "preheader_missing": _("There is no preheader: the mail's first words stand beside the subject. Write one."),
    "off_brand_colour": _("Line %(line)d: %(excerpt)s is no colour of the brand. The nearest of ours is %(near)s."),
    "off_brand_font": _("Line %(line)d: “%(excerpt)s” is no font of the brand. Take one of: %(ours)s."),
    "spam_hint.capitals": _("The subject is all in capitals, which spam filters weigh. Write it in small letters."),
    "spam_hint.exclamation": _("The subject has several exclamation marks, which spam filters weigh. Keep one."),
    "spam_hint.reply": _("The subject begins like an answer (“%(excerpt)s”), but it is none. Leave that out."),
    "spam_hint.picture": _(
        "The mail is all pictures and hardly any text: filters distrust it, and many people see no pictures. Write "
        "some text."
    ),
    "spam_hint.host": _(
        "The link says “%(excerpt)s” but leads to %(host)s: that is how fraud looks. Write words, or the same address."
    ),
    "spam_hint.number": _("The link leads to the bare number %(excerpt)s. Use a name."),
}


@dataclass(frozen=True)
class Problem:
    """Something wrong with a text: its rule, how grave (`error`, `warning`), the field (`translations.cs.body`) and
    the language it is in. `excerpt` tells problems of one rule and field from each other, also when lines move."""

    rule: str
    severity: str
    field: str
    language: str
    said: str
    excerpt: str = ""
    values: Mapping[str, Any] = values_of(default_factory=dict)

    @property
    def sentence(self) -> str:
        """What is wrong, where, and how to mend it, in the language of whoever reads it now."""
        said = in_words(self.said, self.values)
        return f"{self.values['block']}: {said}" if self.values.get("block") else said

    @property
    def is_unsendable(self) -> bool:
        return RULES[self.rule].is_unsendable


def in_words(said: str, values: Mapping[str, Any]) -> str:
    """A sentence of the registry with its values; one that a later release no longer knows is its own name."""
    try:
        return str(SENTENCES[said]) % dict(values)
    except (KeyError, TypeError, ValueError):
        return said


def problem(said: str, field_: str, language: str, *, severity: str = "", excerpt: str = "", **values: Any) -> Problem:
    """A problem of the rule that `said` begins with, as grave as the rule unless told."""
    rule = RULES[said.split(".")[0]]
    excerpt = " ".join(excerpt.split())[:120]
    return Problem(rule.id, severity or rule.severity, field_, language, said, excerpt, values | {"excerpt": excerpt})
