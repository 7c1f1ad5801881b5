"""From what people write (Markdown, MJML, HTML) to the HTML and the text of a mail, with Liquid kept in place.

Liquid hides behind marks while the markup is worked on, so that all of that work happens once for a template and
language, not once for a mail.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape, unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import css_inline
import mrml
import nh3
from django.utils.translation import gettext as _
from markdown_it import MarkdownIt

from messaging import blockmarkup, blocks, frame, plaintext, utm

_MARK = re.compile(r"xLQ(\d+)Qx|<!--LQ(\d+)-->|&lt;!--LQ(\d+)--&gt;")
# Around a link whose address is only known for each person; `plain()` lets no value contain these characters.
OPEN, CLOSE = "\ue000", "\ue001"
SCHEMES = ("http", "https", "mailto", "tel")


class MarkupError(Exception):
    """The text can not become a mail; the message says why, in a sentence."""


@dataclass
class Hidden:
    """The pieces of Liquid taken out of a text, by number."""

    pieces: list[str] = field(default_factory=list)

    def mark(self, liquid: str, *, is_tag: bool = False) -> str:
        self.pieces.append(liquid)
        number = len(self.pieces) - 1
        return f"<!--LQ{number}-->" if is_tag else f"xLQ{number}Qx"

    def restore(self, text: str) -> str:
        def piece(match: re.Match) -> str:
            # Whoever writes what looks like a mark keeps it.
            number = int(match[1] or match[2] or match[3])
            return self.pieces[number] if number < len(self.pieces) else match[0]

        return _MARK.sub(piece, text)

    def in_attribute(self, source: str) -> str:
        """A text for an attribute: all of its Liquid behind marks that are words."""
        parts, done = [], 0
        for start, end in liquid_in(source):
            parts += [source[done:start], self.mark(source[start:end])]
            done = end
        return "".join([*parts, source[done:]])


def hide(source: str, hidden: Hidden) -> str:
    """Puts marks in the place of Liquid: a word for a value, a comment for a tag, which may stand between rows."""
    parts, done = [], 0
    # Where each of these stands last before the place that is looked at.
    last = {"<": -1, ">": -1, "](": -1, ")": -1}
    for start, end in liquid_in(source):
        for sign, place in last.items():
            last[sign] = max(place, source.rfind(sign, max(done - 1, 0), start))
        is_inside_tag = last["<"] > last[">"]
        is_inside_link = last["]("] > last[")"]
        is_tag = source[start + 1] == "%" and not is_inside_tag and not is_inside_link
        parts += [source[done:start], hidden.mark(source[start:end], is_tag=is_tag)]
        # What stands in Liquid itself counts, too.
        for sign, place in last.items():
            last[sign] = max(place, source.rfind(sign, start, end))
        done = end
    return "".join([*parts, source[done:]])


def liquid_in(source: str) -> Iterator[tuple[int, int]]:
    """Where values and tags of Liquid begin and end. What never ends is none, and is looked for once only."""
    place, endless = 0, set()
    while (start := source.find("{", place)) >= 0:
        place, closing = start + 1, {"{": "}}", "%": "%}"}.get(source[start + 1 : start + 2], "")
        if closing and closing not in endless:
            end = source.find(closing, start + 2)
            if end < 0:
                endless.add(closing)
            else:
                place = end + 2
                yield start, place


# Markup to HTML ------------------------------------------------------------------------------------------------------

_TAGS = {
    "a", "abbr", "b", "blockquote", "br", "center", "code", "col", "colgroup", "del", "div", "em", "figure",
    "figcaption", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "li", "ol", "p", "pre", "s", "section",
    "small", "span", "strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul",
}  # fmt: skip
_ATTRIBUTES = {
    "*": {"style", "class", "align", "dir", "lang", "title"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "table": {"width", "border", "cellpadding", "cellspacing", "bgcolor", "role"},
    "td": {"width", "height", "colspan", "rowspan", "valign", "bgcolor"},
    "th": {"width", "height", "colspan", "rowspan", "valign", "bgcolor"},
    "tr": {"bgcolor", "valign"},
    "col": {"width", "span"},
    "ol": {"start"},
}
_STYLES = {
    f"{name}{side}"
    for name in ("margin", "padding", "border")
    for side in ("", "-top", "-right", "-bottom", "-left")
} | {
    "color", "background", "background-color", "font", "font-family", "font-size", "font-style", "font-weight",
    "line-height", "letter-spacing", "text-align", "text-decoration", "text-transform", "vertical-align", "width",
    "max-width", "min-width", "height", "border-radius", "border-collapse", "border-color", "border-style",
    "border-width", "display", "white-space", "list-style", "list-style-type", "word-break", "overflow-wrap",
}  # fmt: skip

_markdown = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable(["table", "strikethrough"])
# The address is kept to the letter; which schemes are allowed is asked below, with a sentence for who wrote it.
_markdown.normalizeLink = lambda url: url  # type: ignore[method-assign]
_markdown.normalizeLinkText = lambda link: link  # type: ignore[method-assign]
_markdown.validateLink = lambda url: True  # type: ignore[method-assign]

_inliner = css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=False)


class _Inspector(HTMLParser):
    """Finds what no mail may contain: addresses with other schemes, and in MJML's own HTML also active content."""

    FORBIDDEN = {"script", "iframe", "object", "embed", "form", "input", "button", "base", "frame", "frameset", "svg"}

    def __init__(self, hidden: Hidden, *, is_strict: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.hidden, self.is_strict = hidden, is_strict

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.is_strict and tag in self.FORBIDDEN:
            raise MarkupError(_("A mail may not contain <%(tag)s>.") % {"tag": tag})
        for name, value in attrs:
            if self.is_strict and name.startswith("on"):
                raise MarkupError(_("A mail may not contain scripts (%(name)s).") % {"name": name})
            if name == "href" and tag == "a":
                check_address(value or "", self.hidden)


def check_address(url: str, hidden: Hidden | None = None) -> None:
    """Raises MarkupError for an address that is not http, https, mailto or tel. One that begins with Liquid passes:
    it is asked again when it is known."""
    # Browsers skip blanks and control characters in a scheme; so do we.
    text = re.sub(r"[\x00-\x20\u00a0\u200b]", "", url)
    if hidden is not None and _MARK.match(text):
        return
    if text.startswith("#") or not text:
        return
    try:
        scheme = urlsplit(text).scheme.lower()
    except ValueError:
        scheme = ""
    if scheme not in SCHEMES:
        shown = hidden.restore(url) if hidden else url
        raise MarkupError(_("A link must begin with https://, http://, mailto: or tel:, not %(url)r.") % {"url": shown})


# Deeper than people nest, and far from where the native readers below run out of stack, which ends the whole process.
MOST_DEPTH = 100
# A tag whole, with its quoted values, or what only looks like one.
_TAG = re.compile(
    r"<!--.*?-->|<[!?][^>]*>|</[^a-zA-Z>][^>]*>"
    r"|<(/?)([a-zA-Z][^\s/>]*)(?:=\s*\"[^\"]*\"|=\s*'[^']*'|[^>=]|=)*+(?:>|\Z)",
    re.DOTALL,
)
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
# In HTML these end each other, so that they may be left open.
_ENDED = {"p", "li", "td", "th", "tr", "tbody", "thead", "tfoot", "dd", "dt", "option", "colgroup", "caption"}
# Within these no end tag ends what began outside.
_WALLS = {
    "table", "object", "applet", "marquee", "template", "select", "svg", "math", "style", "title", "textarea",
    "script", "iframe", "noembed", "noframes", "noscript", "xmp", "plaintext",
}  # fmt: skip


def _check_depth(source: str, *, is_html: bool) -> None:
    """Raises MarkupError where tags stand in each other too deep, too many are left open, or one does not end.

    Where one does not end, the readers below begin anew at each "<", which takes as long as the square of the text.
    """
    stack: list[str] = []
    for match in _TAG.finditer(source):
        if match[2] and not match[0].endswith(">"):
            raise MarkupError(_("The tag %(tag)s does not end.") % {"tag": match[0][:60]})
        name = (match[2] or "").lower()
        if not name or name in _VOID or (is_html and name in _ENDED) or (not is_html and match[0].endswith("/>")):
            continue
        if not match[1]:
            stack.append(name)
            if len(stack) > MOST_DEPTH:
                raise MarkupError(_("More than %(most)d tags stand in each other. Close them.") % {"most": MOST_DEPTH})
            continue
        for place in range(len(stack) - 1, -1, -1):
            if stack[place] == name:
                del stack[place]
                break
            if stack[place] in _WALLS:
                break


def _clean(html: str, hidden: Hidden) -> str:
    _check_depth(html, is_html=True)
    inspector = _Inspector(hidden, is_strict=False)
    inspector.feed(html)
    inspector.close()
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=set(SCHEMES),
        link_rel=None,
        strip_comments=False,
        filter_style_properties=_STYLES,
        clean_content_tags={"script", "style", "title"},
    )


_COMMENT = re.compile(r"<!--(?!LQ\d+-->).*?(?:-->|\Z)", re.DOTALL)
_STYLE = re.compile(r"<style[^>]*>(.*?)(?:</style>|\Z)", re.DOTALL | re.IGNORECASE)


def _from_markdown(source: str, hidden: Hidden) -> tuple[str, str]:
    return _clean(_COMMENT.sub("", _markdown.render(source)), hidden), ""


def _from_html(source: str, hidden: Hidden) -> tuple[str, str]:
    source = _COMMENT.sub("", source)
    _check_depth(source, is_html=True)
    styles = "\n".join(_STYLE.findall(source)).replace("<", "")
    return _clean(source, hidden), styles


def _from_mjml(source: str, hidden: Hidden, language: str) -> str:
    if not re.match(r"\s*<mjml[\s>]", source):
        raise MarkupError(_("MJML must begin with <mjml>."))
    if re.search(r"<\s*mj-include", source):
        raise MarkupError(_("MJML may not include other files."))
    if "lang=" not in source.split(">", 1)[0]:
        source = re.sub(r"<mjml", f'<mjml lang="{language}"', source, count=1)
    _check_depth(source, is_html=False)
    try:
        html = str(mrml.to_html(source).content)
    except Exception as error:
        raise MarkupError(_("The MJML can not be read: %(reason)s") % {"reason": str(error)}) from error
    inspector = _Inspector(hidden, is_strict=True)
    inspector.feed(html)
    inspector.close()
    return html


# One language as a letter --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Letter:
    """One language of a template as Liquid sources: what is left to do is to fill in values.

    `links` are the addresses to be tracked, with their campaign's parameters (see `utm`); `{{ tracked.l0 }}` in the
    sources is the first one. Where `has_personal_links`, some stand between OPEN and CLOSE and are known only for each
    person; `tags` is what is added to those.
    """

    language: str
    subject: str
    html: str
    text: str
    links: tuple[str, ...]
    has_personal_links: bool
    tags: Mapping[str, Any] | None = None


_ANCHOR = re.compile(r"(<a\b[^>]*?\bhref=)([\"'])(.*?)\2", re.DOTALL | re.IGNORECASE)


def _take_links(html: str, hidden: Hidden, tags: Mapping[str, Any] | None) -> tuple[str, list[str], bool]:
    """Puts a mark in the place of each address that is to be tracked."""
    links: list[str] = []
    personal = False

    def replace(match: re.Match) -> str:
        nonlocal personal
        url = unescape(match[3]).strip()
        source = hidden.restore(url)
        if _MARK.fullmatch(url) and re.fullmatch(r"\{\{\s*links\.\w+\s*\}\}", source):
            return match[0]
        check_address(url, hidden)
        if _MARK.search(url):
            personal = True
            return f'{match[1]}"{OPEN}{escape(url)}{CLOSE}"'
        if not url.lower().startswith(("http://", "https://")):
            return match[0]
        url = utm.tag(url, tags)
        if url not in links:
            links.append(url)
        return f'{match[1]}"{hidden.mark(f"{{{{ tracked.l{links.index(url)} }}}}")}"'

    return _ANCHOR.sub(replace, html), links, personal


def build(content: dict[str, Any], language: str) -> Letter:
    """One language of a frozen template as a letter, in the brand's frame. Raises MarkupError.

    The footer with postal address and, but for transactional mail, the way out, is ours: no template can leave it off.
    """
    variant, brand, hidden = content["variants"][language], content["brand"], Hidden()
    may_unsubscribe = content["message_class"] != "transactional"
    kit = frame.Kit.of(brand)
    preheader = frame.preheader(escape(hide(variant.get("preheader") or "", hidden)).replace("&lt;!--LQ", "<!--LQ"))
    if content["message_class"] == "marketing":
        preheader = frame.hidden_link(hidden.mark("{{ links.hidden }}")) + preheader
    footer = frame.footer(brand, kit, may_unsubscribe=may_unsubscribe, language=language, mark=hidden.mark)
    pixel = f'<img data-html-only src="{hidden.mark("{{ links.open }}")}" width="1" height="1" alt="" style="border:0">'
    body_format = content["body_format"]
    if body_format == "mjml":
        html = _from_mjml(hide(variant["body"], hidden), hidden, language)
        html = re.sub(r"(<body[^>]*>)", lambda match: match[0] + preheader, html, count=1)
        html = _before_end(html, f'<div style="max-width:600px;margin:0 auto">{footer}</div>{pixel}')
    elif body_format == "blocks":
        html = _from_blocks(content, language, hidden, kit, header=frame.header(brand, kit), footer=footer)
        html = re.sub(r"(<body[^>]*>)", lambda match: match[0] + preheader, html, count=1)
        html = _before_end(frame.knows_dark(html, kit), pixel)
    elif body_format in _READERS:
        body, styles = _READERS[body_format](hide(variant["body"], hidden), hidden)
        css = frame.shell_css(kit) + styles
        html = (
            f'<!DOCTYPE html><html lang="{escape(language)}"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{css}</style></head><body>'
            f'{preheader}<div class="letter">{frame.header(brand, kit)}<div class="text">{body}</div>{footer}</div>'
            f"{pixel}"
            "</body></html>"
        )
        html = _inliner.inline(html)
        if body_format == "markdown":
            html = frame.knows_dark(html, kit)
    else:
        raise MarkupError(_("A mail is written in Markdown, blocks, MJML or HTML."))
    tags = utm.in_language(content.get("utm"), language)
    html, links, personal = _take_links(html, hidden, tags)
    text = plaintext.from_html(html)
    html = re.sub(r' data-html-only(="")?', "", html)
    return Letter(
        language=language,
        subject=" ".join(variant["subject"].split("\n")).strip(),
        html=hidden.restore(html),
        text=hidden.restore(text),
        links=tuple(links),
        has_personal_links=personal,
        tags=tags,
    )


def _from_blocks(
    content: dict[str, Any], language: str, hidden: Hidden, kit: frame.Kit, *, header: str, footer: str
) -> str:
    variant, css = content["variants"][language], frame.block_css(kit)
    setting = blockmarkup.Setting(
        language=language,
        kit=kit,
        line=lambda text: escape(hide(text, hidden)),
        markdown=lambda text: _inliner.inline_fragment(_from_markdown(hide(text, hidden), hidden)[0], css),
        address=hidden.in_attribute,
        tag=lambda liquid: hidden.mark(liquid, is_tag=True),
        reusable=content.get("reusable") or {},
    )
    try:
        source = blockmarkup.to_mjml(blocks.read(variant["body"]), setting, header=header, footer=footer)
    except blocks.BlocksError as error:
        raise MarkupError(str(error)) from error
    html = setting.restore(setting.restore(_from_mjml(source, hidden, language)))
    # Given to mrml, a title would also stand in an attribute, escaped as no browser reads it.
    return html.replace("<title></title>", f"<title>{escape(content['brand']['name'])}</title>", 1)


_READERS: dict[str, Callable[[str, Hidden], tuple[str, str]]] = {"markdown": _from_markdown, "html": _from_html}


def _before_end(html: str, addition: str) -> str:
    start = html.rfind("</body>")
    return html + addition if start < 0 else html[:start] + addition + html[start:]
