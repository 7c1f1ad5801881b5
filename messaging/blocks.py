"""The blocks that a mail is built of: what kinds there are, how they are written, and what is wrong with some.

A body of blocks is a JSON list of mappings, such as `{"kind": "button", "text": "Try it", "link": "https://…"}`. Texts
may hold Liquid; `show_if` beside any block is a condition in Liquid's words: `contact.country == "CZ"`.
A language has a body of its own or none: a translation may leave out or reorder what the other says, so no block needs
an identity that outlives its text.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from messaging import liquid

MOST_BLOCKS = 200
_KEY = re.compile(r"[\w-]{1,64}")


@dataclass(frozen=True)
class Part:
    """One thing that is said of a block. `type` is line, text (Markdown), url, picture (its address), number, choice,
    columns, links or reusable; `least` and `most` bound a number."""

    name: str
    type: str
    label: str | Promise
    is_required: bool = False
    # What to write where a required part is missing.
    missing: str | Promise = ""
    choices: tuple[tuple[str, str | Promise], ...] = ()
    least: int = 0
    most: int = 0
    default: str | int = ""


@dataclass(frozen=True)
class Kind:
    """A kind of block, with what may be said of it in the order in which it is written."""

    label: str | Promise
    icon: str
    about: str | Promise
    parts: tuple[Part, ...]


_ALIGN = Part(
    "align",
    "choice",
    gettext_lazy("Align"),
    choices=(
        ("left", pgettext_lazy("alignment", "left")),
        ("center", gettext_lazy("centre")),
        ("right", gettext_lazy("right")),
    ),
    default="left",
)
_ALT = gettext_lazy("Say in words what the picture shows: many people see no pictures.")

KINDS: dict[str, Kind] = {
    "heading": Kind(
        gettext_lazy("Heading"),
        "flag",
        gettext_lazy("A line that says what comes"),
        (
            Part("text", "line", gettext_lazy("Text"), True),
            Part(
                "level",
                "choice",
                gettext_lazy("Size"),
                choices=(("1", gettext_lazy("large")), ("2", gettext_lazy("medium")), ("3", gettext_lazy("small"))),
                default="1",
            ),
            _ALIGN,
        ),
    ),
    "text": Kind(
        gettext_lazy("Text"),
        "message",
        gettext_lazy("Paragraphs, lists and links, in Markdown"),
        (Part("text", "text", gettext_lazy("Text"), True), _ALIGN),
    ),
    "picture": Kind(
        gettext_lazy("Picture"),
        "eye",
        gettext_lazy("A picture with words for those who cannot see it"),
        (
            Part("url", "picture", gettext_lazy("Address of the picture"), True),
            Part("alt", "line", gettext_lazy("What it shows"), True, missing=_ALT),
            Part("link", "url", pgettext_lazy("link", "Leads to")),
            Part("width", "number", gettext_lazy("Width in pixels"), least=16, most=600),
        ),
    ),
    "button": Kind(
        gettext_lazy("Button"),
        "bolt",
        gettext_lazy("The one thing that people should do"),
        (
            Part("text", "line", gettext_lazy("Words"), True),
            Part(
                "link",
                "url",
                pgettext_lazy("link", "Leads to"),
                True,
                missing=gettext_lazy("Say where the button leads."),
            ),
            Part(
                "look",
                "choice",
                pgettext_lazy("of a button", "Look"),
                choices=(("full", gettext_lazy("filled")), ("plain", gettext_lazy("outlined"))),
                default="full",
            ),
            _ALIGN,
        ),
    ),
    "columns": Kind(
        gettext_lazy("Columns"),
        "sliders",
        gettext_lazy("Two or three beside each other; one under the other on a phone"),
        (Part("columns", "columns", gettext_lazy("Columns"), True),),
    ),
    "product": Kind(
        gettext_lazy("Product card"),
        "cart",
        gettext_lazy("A picture, a name, a price and where to get it"),
        (
            Part("name", "line", gettext_lazy("Name"), True),
            Part("picture", "picture", gettext_lazy("Address of the picture")),
            Part("alt", "line", gettext_lazy("What it shows")),
            Part("text", "text", gettext_lazy("Text")),
            Part("price", "line", gettext_lazy("Price")),
            Part("link", "url", pgettext_lazy("link", "Leads to")),
            Part("label", "line", gettext_lazy("Words of the button")),
        ),
    ),
    "social": Kind(
        gettext_lazy("Social links"),
        "people",
        gettext_lazy("Where else people find you"),
        (Part("links", "links", gettext_lazy("Links"), True), _ALIGN),
    ),
    "divider": Kind(pgettext_lazy("in a mail", "Line"), "minus", gettext_lazy("A thin line between two parts"), ()),
    "spacer": Kind(
        gettext_lazy("Space"),
        "up-down",
        gettext_lazy("Air between two parts"),
        (Part("height", "number", gettext_lazy("Height in pixels"), least=4, most=120, default=24),),
    ),
    "reusable": Kind(
        gettext_lazy("Reusable block"),
        "copy",
        gettext_lazy("Written once, used in many mails"),
        (Part("key", "reusable", gettext_lazy("Which"), True),),
    ),
}
# What may stand in a column.
SIMPLE = tuple(kind for kind in KINDS if kind not in ("columns", "reusable"))

Block = dict[str, Any]


@dataclass(frozen=True)
class Wrong:
    """Something wrong with a block: its path, such as `blocks[2].alt`, and a sentence."""

    path: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.path}: {self.sentence}"


class BlocksError(ValueError):
    """The body can not be read as blocks; `wrong` says all that is wrong."""

    def __init__(self, wrong: list[Wrong]):
        super().__init__(" ".join(map(str, wrong)))
        self.wrong = wrong


def read(body: str) -> list[Block]:
    """The blocks of a body. Raises BlocksError with the path of everything that is wrong."""
    try:
        blocks = json.loads(body) if body.strip() else []
    except (ValueError, RecursionError) as error:
        line = f" ({_('line %(line)d') % {'line': error.lineno}})" if isinstance(error, json.JSONDecodeError) else ""
        raise BlocksError([Wrong("blocks", _("This is no JSON.") + line)]) from None
    if wrong := check(blocks):
        raise BlocksError(wrong)
    return blocks


def write(blocks: list[Block]) -> str:
    """Blocks as a body, the same to the byte for the same blocks: parts in their order, what says nothing left out."""
    return json.dumps([_tidied(block) for block in blocks], ensure_ascii=False, indent=1)


def _tidied(block: Any) -> Any:
    if not isinstance(block, dict) or block.get("kind") not in KINDS:
        return block
    names = [part.name for part in KINDS[block["kind"]].parts]
    kept = {"kind": block["kind"]}
    for name in [*names, *(name for name in block if name not in names and name not in kept and name != "show_if")]:
        value = block.get(name)
        if value is None or value == "":
            continue
        if name == "columns" and isinstance(value, list):
            value = [[_tidied(one) for one in column] if isinstance(column, list) else column for column in value]
        kept[name] = value
    if block.get("show_if"):
        kept["show_if"] = block["show_if"]
    return kept


# What is wrong -------------------------------------------------------------------------------------------------------


def check(blocks: Any, *, path: str = "blocks", allowed: tuple[str, ...] = tuple(KINDS)) -> list[Wrong]:
    """Everything that is wrong with a list of blocks; `allowed` are the kinds that may stand here."""
    if not isinstance(blocks, list):
        return [Wrong(path, _("This must be a list of blocks."))]
    if len(blocks) > MOST_BLOCKS:
        return [Wrong(path, _("More than %(count)d blocks are too many for a mail.") % {"count": MOST_BLOCKS})]
    found: list[Wrong] = []
    for number, block in enumerate(blocks):
        found += _check_block(block, f"{path}[{number}]", allowed)
    return found


def _check_block(block: Any, path: str, allowed: tuple[str, ...]) -> list[Wrong]:
    if not isinstance(block, dict):
        return [Wrong(path, _("A block is a mapping with a kind."))]
    kind = block.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        known = ", ".join(KINDS)
        return [Wrong(f"{path}.kind", _("There is no block %(kind)r; there are %(known)s.") % vars_of(kind, known))]
    if kind not in allowed:
        return [Wrong(f"{path}.kind", _("A block %(kind)r can not stand here.") % {"kind": kind})]
    parts = {part.name: part for part in KINDS[kind].parts}
    found = []
    for name, value in block.items():
        here = f"{path}.{name}"
        if name == "kind":
            continue
        if name == "show_if":
            found += [Wrong(here, sentence) for sentence in _condition(value)]
        elif name not in parts:
            known = ", ".join(["kind", *parts, "show_if"])
            found.append(Wrong(here, _("This is not known here; known are %(known)s.") % {"known": known}))
        elif value not in ("", None):
            found += _check_part(parts[name], value, here)
    for name, part in parts.items():
        value = block.get(name)
        if part.is_required and (value in ("", None, []) or isinstance(value, str) and not value.strip()):
            found.append(Wrong(f"{path}.{name}", str(part.missing) or _("This is missing.")))
    if kind == "product" and block.get("picture") and not str(block.get("alt") or "").strip():
        found.append(Wrong(f"{path}.alt", str(_ALT)))
    return found


def vars_of(kind: Any, known: str) -> dict[str, Any]:
    return {"kind": str(kind)[:40] if isinstance(kind, str) else kind, "known": known}


def _check_part(part: Part, value: Any, path: str) -> list[Wrong]:
    if part.type == "columns":
        return _check_columns(value, path)
    if part.type == "links":
        return _check_links(value, path)
    if part.type == "number":
        if type(value) is not int or not part.least <= value <= part.most:
            told = {"least": part.least, "most": part.most}
            return [Wrong(path, _("This is a whole number from %(least)d to %(most)d.") % told)]
        return []
    if part.type == "choice":
        known = [name for name, _label in part.choices]
        if str(value) not in known:
            return [Wrong(path, _("This must be one of %(known)s.") % {"known": ", ".join(known)})]
        return []
    if not isinstance(value, str):
        return [Wrong(path, _("This must be text."))]
    if part.type == "line" and ("\n" in value or "\r" in value):
        return [Wrong(path, _("This is one line."))]
    if part.type in ("url", "picture"):
        sentence = address_problem(value, is_picture=part.type == "picture")
        return [Wrong(path, sentence)] if sentence else []
    if part.type == "reusable" and not _KEY.fullmatch(value):
        return [Wrong(path, _("This is no key."))]
    return []


def _check_columns(value: Any, path: str) -> list[Wrong]:
    if not isinstance(value, list) or not 2 <= len(value) <= 3:
        return [Wrong(path, _("These are two or three lists of blocks."))]
    found: list[Wrong] = []
    for number, column in enumerate(value):
        found += check(column, path=f"{path}[{number}]", allowed=SIMPLE)
    return found


def _check_links(value: Any, path: str) -> list[Wrong]:
    if not isinstance(value, list) or len(value) > 12:
        return [Wrong(path, _("This is a list of at most 12 links."))]
    found = []
    for number, link in enumerate(value):
        here = f"{path}[{number}]"
        if not isinstance(link, dict) or set(link) - {"name", "url"}:
            found.append(Wrong(here, _("A link has a name and a url.")))
            continue
        if not isinstance(link.get("name"), str) or not link["name"].strip():
            found.append(Wrong(f"{here}.name", _("Say what the link is called.")))
        if sentence := address_problem(link.get("url") or "", is_picture=False):
            found.append(Wrong(f"{here}.url", sentence))
    return found


def address_problem(url: Any, *, is_picture: bool) -> str:
    """Why this can be no address, as a sentence; empty where it can. What begins with Liquid is asked when it is
    known."""
    if not isinstance(url, str):
        return _("This must be text.")
    plain = url.strip()
    if plain.startswith("{{"):
        return ""
    written = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "x", plain)
    try:
        parts = urlsplit(written)
        scheme, host, _port = parts.scheme.lower(), parts.hostname or "", parts.port
    except ValueError:
        scheme, host = "", ""
    if any(ord(letter) <= 32 for letter in written):
        return _("An address has no blanks.")
    if scheme in ("http", "https") and host:
        return ""
    if is_picture:
        return _("The address of a picture begins with https:// or http://.")
    if scheme in ("mailto", "tel") and parts.path:
        return ""
    return _("A link must begin with https://, http://, mailto: or tel:, not %(url)r.") % {"url": plain[:100]}


def _condition(value: Any) -> list[str]:
    """What is wrong with a `show_if`."""
    if value in ("", None):
        return []
    if not isinstance(value, str) or re.search(r"[{}%\n\r]", value):
        return [_('A condition is one line of Liquid without braces: contact.country == "CZ".')]
    try:
        liquid.parse(condition(value, "x"), is_html=True)
    except liquid.RenderError as error:
        return [str(error)]
    return []


def condition(value: str, text: str) -> str:
    """A text that stands there only where the condition holds."""
    return f"{{% if {value} %}}{text}{{% endif %}}"


# What they say -------------------------------------------------------------------------------------------------------


def walk(blocks: list[Block], path: str = "blocks") -> Iterator[tuple[str, Block, str]]:
    """Each block with its path and the condition of the columns around it, those in columns behind them."""
    for number, block in enumerate(blocks):
        here = f"{path}[{number}]"
        yield here, block, ""
        for place, column in enumerate(block.get("columns") or []):
            for inner, one, _around in walk(column, f"{here}.columns[{place}]"):
                yield inner, one, block.get("show_if") or ""


def texts(blocks: list[Block]) -> Iterator[tuple[str, str]]:
    """Each text that people wrote, with its path; one under a condition stands in Liquid's `if`."""
    for path, block, around in walk(blocks):
        conditions = [one for one in (block.get("show_if"), around) if one]
        for part in KINDS[block["kind"]].parts:
            value = block.get(part.name)
            told: list[tuple[str, Any]] = []
            if part.type in ("line", "text", "url", "picture"):
                told = [(f"{path}.{part.name}", value)]
            elif part.type == "links":
                told = [
                    (f"{path}.links[{number}].{name}", link.get(name))
                    for number, link in enumerate(value or [])
                    for name in ("name", "url")
                ]
            for place, text in told:
                if text:
                    for one in conditions:
                        text = condition(one, text)
                    yield place, text


def tidied(body: str) -> str:
    """A body in its one form; one that cannot be read stays as it is."""
    try:
        return write(read(body))
    except BlocksError:
        return body


def sound(body: str) -> str:
    """A body without the blocks in which anything is wrong: what can be shown while somebody still writes."""
    try:
        blocks = json.loads(body)
    except (ValueError, RecursionError):
        return body
    if not isinstance(blocks, list):
        return body
    return json.dumps([block for block in blocks if not check([block])], ensure_ascii=False)


def references(body: str) -> list[str]:
    """The keys of the reusable blocks that a body names; none where it can not be read."""
    try:
        blocks = read(body)
    except BlocksError:
        return []
    return sorted({block["key"] for _path, block, _around in walk(blocks) if block["kind"] == "reusable"})


def choose(variants: Mapping[str, Any], language: str, otherwise: str) -> Any:
    """The variant for a language: the very one, else its base language's, else the one in `otherwise`."""
    return variants.get(language) or variants.get(language.split("-")[0]) or variants.get(otherwise)
