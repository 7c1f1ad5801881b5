"""What a mail looks like once it is put together: its words with their colours, its links and its pictures.

Read from the HTML that really leaves, the brand's frame around it; Liquid is replaced by what it prints when nothing is
known. All branches of its conditions are looked at.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from html.parser import HTMLParser
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from messaging import colours, linter_styles, markup
from messaging.linter_rules import MOST_BYTES, Problem, problem

LIQUID = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_DEFAULT = re.compile(r"\|\s*default:\s*(?:\"([^\"]*)\"|'([^']*)')")
_OWN = re.compile(r"\{\{-?\s*(links|tracked)\.(\w+)\s*-?\}\}")
# What is not known yet.
GAP = "…"
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
_SILENT = {"head", "style", "script", "title"}
# How long a signed address is, beside BASE_URL.
_TOKEN = 64
_SIZES = {"h1": 32.0, "h2": 24.0, "h3": 18.7, "small": 13.0}
_HOST = re.compile(r"(?:https?://)?((?:[a-z0-9-]+\.)+[a-z]{2,})(?:[/?#]\S*)?", re.IGNORECASE)


def without_liquid(text: str, *, is_html: bool) -> str:
    """A source as people read it when nothing is known: a value is its default, else “…”; tags are gone."""

    def said(match: re.Match) -> str:
        if match[0].startswith("{%"):
            # The branches of a condition are different words.
            return " "
        default = _DEFAULT.search(match[0])
        shown = (default[1] or default[2] or "") if default else GAP
        return escape(shown) if is_html else shown

    return LIQUID.sub(said, text)


@dataclass(frozen=True)
class Word:
    """A stretch of text as it is seen; `background` is None over a picture, `href` is the link it stands in."""

    text: str
    colour: colours.Colour
    background: colours.Colour | None
    size: float
    is_bold: bool
    is_hidden: bool
    href: str | None


@dataclass
class Anchor:
    href: str
    text: str = ""
    pictures: int = 0
    has_words: bool = False
    is_hidden: bool = False


@dataclass
class Look:
    """All that is seen of one language of a mail."""

    words: list[Word] = field(default_factory=list)
    anchors: list[Anchor] = field(default_factory=list)
    # The address of each picture, and what is said in its place; None where nothing is.
    pictures: list[tuple[str, str | None]] = field(default_factory=list)


@dataclass(frozen=True)
class _Style:
    tag: str = ""
    colour: colours.Colour = (0, 0, 0)
    background: colours.Colour | None = (255, 255, 255)
    size: float = 16.0
    is_bold: bool = False
    is_hidden: bool = False
    is_silent: bool = False
    anchor: Anchor | None = None


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.look = Look()
        self.stack = [_Style()]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        above = self.stack[-1]
        here = replace(
            above,
            tag=tag,
            size=_SIZES.get(tag, above.size),
            is_bold=above.is_bold or tag in ("b", "strong", "th", "h1", "h2", "h3", "h4", "h5", "h6"),
            is_silent=above.is_silent or tag in _SILENT,
        )
        if tag == "a":
            anchor = Anchor(values.get("href", "").strip())
            self.look.anchors.append(anchor)
            here = replace(here, anchor=anchor, colour=(0, 0, 238) if anchor.href else here.colour)
        here = _styled(here, values)
        if tag == "a" and here.anchor:
            here.anchor.is_hidden = here.is_hidden
        if tag == "img":
            self._picture(values, here)
        if tag not in _VOID:
            self.stack.append(here)

    def _picture(self, values: Mapping[str, str], here: _Style) -> None:
        if {values.get("width"), values.get("height")} & {"0", "1"} or here.is_hidden:
            return  # it is there to be counted, not to be seen
        source, words = values.get("src", ""), values.get("alt") if "alt" in values else None
        self.look.pictures.append((source, words))
        if here.anchor:
            here.anchor.pictures += 1
            here.anchor.has_words = here.anchor.has_words or bool((words or "").strip())

    def handle_endtag(self, tag: str) -> None:
        for place in range(len(self.stack) - 1, 0, -1):
            if self.stack[place].tag == tag:
                del self.stack[place:]
                return

    def handle_data(self, data: str) -> None:
        here = self.stack[-1]
        text = plain(data.replace("\ufeff", " ").replace("\u2007", " "))
        if not text or here.is_silent:
            return
        if here.anchor:
            here.anchor.text = f"{here.anchor.text} {text}".strip()
            here.anchor.has_words = True
        href = here.anchor.href if here.anchor else None
        self.look.words.append(
            Word(text, here.colour, here.background, here.size, here.is_bold, here.is_hidden or here.size < 1, href)
        )


def _styled(here: _Style, values: Mapping[str, str]) -> _Style:
    """The style of an element: what it says over what it takes over."""
    said: dict[str, Any] = {}
    style = dict(_declarations(values.get("style", "")))
    background = style.get("background-color") or style.get("background") or values.get("bgcolor", "")
    if background or "background-image" in style:
        found = colours.find(background)
        under = here.background or (255, 255, 255)
        if "url(" in background or "gradient(" in background or style.get("background-image", "none") != "none":
            said["background"] = None
        elif found:
            said["background"] = colours.read(found[0], under)
    ground = said.get("background", here.background) or (255, 255, 255)
    if "color" in style and (colour := colours.read(style["color"], ground)):
        said["colour"] = colour
    if size := re.match(r"([\d.]{1,8})\s*(px|pt|em|rem|%)?", style.get("font-size", "")):
        number, unit = float(size[1].strip(".") or 0), size[2] or "px"
        said["size"] = number * {"px": 1, "pt": 4 / 3, "rem": 16, "em": here.size, "%": here.size / 100}[unit]
    weight = style.get("font-weight", "")
    if weight:
        said["is_bold"] = weight in ("bold", "bolder") or (weight.isdecimal() and int(weight) >= 700)
    is_hidden = (
        style.get("display") == "none"
        or style.get("visibility") in ("hidden", "collapse")
        or _share(style.get("opacity", "1")) < 0.1
        # Far off the page, or cut away.
        or any(
            _is_far(style.get(name, "")) for name in ("left", "top", "right", "bottom", "text-indent", "margin-left")
        )
        or style.get("clip", "auto") != "auto"
        or "scale(0" in style.get("transform", "")
        or (style.get("width", "").removesuffix("px") == "0" and "hidden" in style.get("overflow", ""))
        or (style.get("max-height", "").removesuffix("px") == "0" or style.get("height", "").removesuffix("px") == "0")
    )
    said["is_hidden"] = here.is_hidden or bool(is_hidden)
    return replace(here, **said)


def _share(text: str) -> float:
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return 1.0


def _is_far(length: str) -> bool:
    return bool(re.match(r"-\d{3,}", length))


def _declarations(style: str) -> Iterator[tuple[str, str]]:
    for one in style.split(";"):
        name, colon, value = one.partition(":")
        if colon:
            yield name.strip().lower(), value.replace("!important", "").strip().lower()


def look_at(letter: markup.Letter, *, with_sheets: bool = False) -> Look:
    """What people will see of a letter, whose addresses are those that people wrote, not the tracked ones.

    `with_sheets`: as the style sheets in its head have it.
    """
    html = _flat(letter, lambda number: letter.links[number] if number < len(letter.links) else "")
    reader = _Reader()
    reader.feed(linter_styles.in_place(html) if with_sheets else html)
    reader.close()
    return reader.look


def size_of(letter: markup.Letter) -> int:
    """How many bytes of HTML leave, with addresses as long as signed ones are."""
    signed = f"{settings.BASE_URL}/t/c/{'x' * _TOKEN}"
    return len(_flat(letter, lambda number: signed).encode())


def _flat(letter: markup.Letter, address: Any) -> str:
    def own(match: re.Match) -> str:
        if match[1] == "tracked":
            return escape(address(int(match[2].removeprefix("l") or 0)))
        return f"#{match[2]}"

    html = _OWN.sub(own, letter.html).replace(markup.OPEN, "").replace(markup.CLOSE, "")
    return without_liquid(html, is_html=True)


# Rules ---------------------------------------------------------------------------------------------------------------


def of_the_law(look: Look, content: Mapping[str, Any], language: str, name: str) -> Iterator[Problem]:
    """Whether what the law asks for can really be seen, whatever the text's own styles do to the footer."""
    brand = content["brand"]
    seen = plain(" ".join(word.text for word in look.words if _is_seen(word)))
    address = plain(str(brand.get("postal_address") or ""))
    if not address or address not in seen:
        yield problem("no_postal_address", name, language)
    if content["message_class"] != "transactional":
        ways = {word.href for word in look.words if _is_seen(word)}
        if "#unsubscribe" not in ways:
            yield problem("no_unsubscribe", name, language)
        elif "#preferences" not in ways:
            yield problem("no_unsubscribe.preferences", name, language)
    legal = {key: text for key, text in (brand.get("legal") or {}).items() if text}
    if legal and not any(key in legal for key in (language, language.split("-")[0], "")):
        yield problem("legal_block_missing", name, language)


def plain(text: str) -> str:
    """In one line, each letter with its accent."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _is_seen(word: Word) -> bool:
    return (
        not word.is_hidden
        and word.size >= 6
        and (word.background is None or colours.contrast(word.colour, word.background) >= 1.3)
    )


def of_looks(look: Look, language: str, name: str, source: str) -> Iterator[Problem]:
    """Contrast, and pictures that say nothing to those who do not see them.

    Where neither of two colours stands in the source, both are the brand's: that is not for who writes a text to mend,
    and no error of it.
    """
    told = set()
    written = {colour for colour, _line in written_colours(source)}
    for word in look.words:
        if word.is_hidden or word.background is None or (word.colour, word.background) in told:
            continue
        ratio = colours.contrast(word.colour, word.background)
        least = 3.0 if word.size >= 24 or (word.is_bold and word.size >= 18.6) else 4.5
        if ratio < least:
            told.add((word.colour, word.background))
            is_ours = not {word.colour, word.background} & written
            yield problem(
                "contrast.brand" if is_ours else "contrast", name, language,
                severity="error" if ratio < 3 and not is_ours else "warning", excerpt=word.text[:60],
                colour=colours.written(word.colour), background=colours.written(word.background),
                ratio=f"{int(ratio * 10) / 10:.1f}", least=f"{least:.1f}",
            )  # fmt: skip
    for picture, words in dict(look.pictures).items():
        if words is None:
            yield problem("alt_text", name, language, excerpt=_short(picture))


def of_links(look: Look, language: str, name: str, source: str, dead: Mapping[str, str]) -> Iterator[Problem]:
    """Where links lead, and whether they say so. `dead` are the addresses known not to work, with the reason."""
    told = set()
    for anchor in look.anchors:
        href = anchor.href
        if (href, anchor.text) in told or href in ("#unsubscribe", "#preferences", "#confirm"):
            continue
        told.add((href, anchor.text))
        if not href or href == "#":
            yield problem("empty_link", name, language, excerpt=anchor.text)
            continue
        if anchor.pictures and not anchor.has_words:
            yield problem("alt_text.link", name, language, excerpt=_short(href))
        if GAP in href:
            continue
        if href in dead:
            yield problem(f"dead_link.{dead[href]}", name, language, excerpt=href)
        if href.lower().startswith("http://"):
            yield problem("insecure_link", name, language, excerpt=href, line=line_of(source, href))
        yield from _honest(anchor, language, name)


def _honest(anchor: Anchor, language: str, name: str) -> Iterator[Problem]:
    try:
        host = (urlsplit(anchor.href).hostname or "").lower()
    except ValueError:
        return
    if not host or not anchor.href.lower().startswith(("http://", "https://")):
        return
    try:
        ip_address(host)
        yield problem("spam_hint.number", name, language, excerpt=host)
    except ValueError:
        pass
    if (said := _HOST.fullmatch(anchor.text.strip())) and _site(said[1].lower()) != _site(host):
        yield problem("spam_hint.host", name, language, excerpt=anchor.text, host=host)


def _site(host: str) -> str:
    return ".".join(host.removeprefix("www.").split(".")[-2:])


def of_size(letter: markup.Letter, look: Look, language: str, name: str) -> Iterator[Problem]:
    """How heavy the mail is, and whether there is anything to read in it."""
    size = size_of(letter)
    if size > MOST_BYTES:
        yield problem("too_large", name, language, size=-(-size // 1024))


def of_brand(source: str, brand: Mapping[str, Any], language: str, name: str) -> Iterator[Problem]:
    """Colours and fonts in what people wrote that are not the brand's; greys belong to every brand."""
    ours = [one for one in map(colours.read, map(str, (brand.get("colours") or {}).values())) if one]
    told = set()
    for colour, line in written_colours(source) if ours else ():
        if colour not in told and colour not in ours and not colours.is_neutral(colour):
            told.add(colour)
            near = min(ours, key=lambda one: sum((a - b) ** 2 for a, b in zip(one, colour, strict=True)))
            yield problem(
                "off_brand_colour", name, language, excerpt=colours.written(colour), line=line,
                near=colours.written(near),
            )  # fmt: skip
    fonts = [str(one) for one in (brand.get("fonts") or {}).values() if one]
    names: set[str] = set()
    known = {family.strip(" \"'").lower() for stack in fonts for family in stack.split(",")}
    for stack, line in written_fonts(source) if known else ():
        family = stack.split(",")[0].strip(" \"'")
        if family.lower() not in known and family.lower() not in names:
            names.add(family.lower())
            yield problem("off_brand_font", name, language, excerpt=family, line=line, ours="; ".join(fonts))


_COLOURED = re.compile(
    r"(?:\b(?:color|background|background-color|bgcolor|fill|stroke)|\bborder[a-z-]*)[\"']?\s*[:=]\s*[\"']?"
    r"([^\"';{}<>\n]{1,120})",
    re.IGNORECASE,
)
_FONT = re.compile(r"font-family[\"']?\s*[:=]\s*([^;}<>\n]{1,200})", re.IGNORECASE)


def written_colours(source: str) -> list[tuple[colours.Colour, int]]:
    """The colours that a source names, each with its line."""
    return [
        (colour, source.count("\n", 0, match.start()) + 1)
        for match in _COLOURED.finditer(source)
        for one in colours.find(match[1])
        if (colour := colours.read(one))
    ]


def written_fonts(source: str) -> list[tuple[str, int]]:
    """The font stacks that a source names, each with its line."""
    found = []
    for match in _FONT.finditer(source):
        stack = match[1].strip()
        if (
            stack[:1] in "\"'"
            and (end := stack.find(stack[0], 1)) > 0
            and not stack[end + 1 :].lstrip().startswith(",")
        ):
            stack = stack[1:end]  # the value of an attribute, not the first name of a list
        if stack := stack.strip(" ,\"'"):
            found.append((stack, source.count("\n", 0, match.start()) + 1))
    return found


def line_of(source: str, text: str) -> int:
    """The line where a text stands first; 1 where it does not stand so."""
    place = source.find(text)
    return source.count("\n", 0, max(place, 0)) + 1


def _short(address: str) -> str:
    return address if len(address) <= 80 else f"{address[:79]}…"


def words_of(look: Look, frame: Sequence[str]) -> list[str]:
    """What the text itself says, without the brand's frame around it."""
    around = {plain(one) for one in frame if one}
    own = ("#unsubscribe", "#preferences")
    return [word.text for word in look.words if not word.is_hidden and word.text not in around and word.href not in own]
