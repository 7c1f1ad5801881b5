"""Blocks set as MJML, which `mrml` turns into tables that every mail program shows.

What people wrote never becomes MJML: it stands behind marks until the HTML is there, so no text can open or close a
tag of ours.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

from django.utils.translation import gettext as _

from messaging import blocks as written
from messaging.blocks import Block
from messaging.frame import Kit

# Around the number of a stretch of HTML; no text that people write keeps this character.
_MARK = "\ue00f"
_PRIVATE = re.compile("[\ue000-\ue00f]")
_SIZES = {"1": (26, 34), "2": (20, 28), "3": (16, 24)}
_LINE = "#dddddd"


@dataclass
class Setting:
    """How blocks are set in one language of one mail.

    `line` escapes a plain text with its Liquid hidden, `markdown` makes clean HTML, `address` hides Liquid in an
    attribute, `tag` hides a Liquid tag; `reusable` are the frozen reusable blocks by key.
    """

    language: str
    kit: Kit
    line: Callable[[str], str]
    markdown: Callable[[str], str]
    address: Callable[[str], str]
    tag: Callable[[str], str]
    reusable: Mapping[str, Mapping[str, Any]]
    _kept: list[str] = field(default_factory=list)

    def keep(self, html: str) -> str:
        """A mark that stands for HTML until `restore`."""
        self._kept.append(html)
        return f"{_MARK}{len(self._kept) - 1}{_MARK}"

    def restore(self, html: str) -> str:
        return re.sub(f"{_MARK}([0-9]+){_MARK}", lambda match: self._kept[int(match[1])], html)

    def words(self, text: str) -> str:
        return self.keep(self.line(_PRIVATE.sub("", text)))

    def paragraphs(self, text: str) -> str:
        return self.keep(self.markdown(_PRIVATE.sub("", text)))

    def attribute(self, text: str) -> str:
        return escape(self.address(_PRIVATE.sub("", text.strip())))


def to_mjml(blocks: list[Block], setting: Setting, *, header: str, footer: str) -> str:
    """A whole mail as MJML with marks: `setting.restore` the HTML that comes of it."""
    body, kit = "".join(_section(block, setting) for block in blocks), setting.kit
    return (
        f'<mjml lang="{escape(setting.language)}"><mj-head><mj-attributes>'
        f'<mj-all font-family="{kit.body_font}" />'
        f'<mj-text font-size="16px" line-height="24px" color="{kit.text}" padding="6px 24px" css-class="ink" />'
        f'<mj-section padding="0" background-color="{kit.background}" css-class="letter" />'
        '<mj-image padding="6px 24px" />'
        '<mj-button padding="10px 24px" font-size="16px" line-height="20px" inner-padding="12px 22px" />'
        f'<mj-divider padding="12px 24px" border-width="1px" border-color="{_LINE}" /></mj-attributes></mj-head>'
        '<mj-body background-color="#f4f4f5" width="600px" css-class="ground">'
        f"{_whole(setting.keep(header), '')}{body}{_whole(setting.keep(footer), '12px 0 0')}</mj-body></mjml>"
    )


def _whole(content: str, padding: str) -> str:
    """A section of one text that brings its own padding."""
    return (
        f'<mj-section padding="{padding or "0"}"><mj-column><mj-text padding="0" css-class="frame">{content}</mj-text>'
        "</mj-column></mj-section>"
    )


def _section(block: Block, setting: Setting) -> str:
    if block["kind"] == "columns":
        inner = "".join(
            f"<mj-column>{''.join(_shown(one, setting, _element(one, setting)) for one in column)}</mj-column>"
            for column in block["columns"]
        )
        return _shown(block, setting, f"<mj-section>{inner}</mj-section>")
    if block["kind"] == "reusable":
        return _shown(block, setting, _reused(block, setting))
    element = _element(block, setting)
    return _shown(block, setting, f"<mj-section><mj-column>{element}</mj-column></mj-section>")


def _shown(block: Block, setting: Setting, mjml: str) -> str:
    """A block under its condition: the marks are comments, which may stand between rows."""
    if not (condition := block.get("show_if")):
        return mjml
    return f"{setting.tag('{% if ' + condition + ' %}')}{mjml}{setting.tag('{% endif %}')}"


def _reused(block: Block, setting: Setting) -> str:
    one = setting.reusable.get(block["key"])
    if one is None:
        sentence = _("There is no reusable block %(key)r.") % {"key": block["key"]}
        raise written.BlocksError([written.Wrong("blocks", sentence)])
    body = written.choose(one["bodies"], setting.language, one["language"]) or ""
    if one["body_format"] == "markdown":
        text = f"<mj-text>{setting.paragraphs(body)}</mj-text>"
        return f"<mj-section><mj-column>{text}</mj-column></mj-section>"
    return "".join(_section(inner, setting) for inner in written.read(body))


def _element(block: Block, setting: Setting) -> str:
    return _ELEMENTS[block["kind"]](block, setting)


def _align(block: Block) -> str:
    return f'align="{block.get("align") or "left"}"'


def _heading(block: Block, setting: Setting) -> str:
    level = str(block.get("level") or "1")
    size, height = _SIZES[level]
    font = setting.kit.heading_font
    style = f"margin:0;font-family:{font};font-size:{size}px;line-height:{height}px;font-weight:bold"
    html = f'<h{level} style="{style}">{setting.words(block["text"])}</h{level}>'
    return f'<mj-text {_align(block)} padding="14px 24px 6px">{setting.keep(html)}</mj-text>'


def _text(block: Block, setting: Setting) -> str:
    return f"<mj-text {_align(block)}>{setting.paragraphs(block['text'])}</mj-text>"


def _picture(block: Block, setting: Setting) -> str:
    link = f'href="{setting.attribute(block["link"])}"' if block.get("link") else ""
    width = f'width="{block["width"]}px"' if block.get("width") else ""
    return (
        f'<mj-image src="{setting.attribute(block["url"])}" alt="{setting.attribute(block["alt"])}" {link} {width} />'
    )


def _button(block: Block, setting: Setting) -> str:
    kit = setting.kit
    colours = f'background-color="{kit.primary}" color="{kit.button_text}"'
    if block.get("look") == "plain":
        colours = f'background-color="{kit.background}" color="{kit.primary}" border="2px solid {kit.primary}"'
    return (
        f'<mj-button {_align(block)} {colours} border-radius="{kit.button_radius}px" font-weight="bold" css-class="go" '
        f'href="{setting.attribute(block["link"])}">{setting.words(block["text"])}</mj-button>'
    )


def _product(block: Block, setting: Setting) -> str:
    parts = []
    if block.get("picture"):
        parts.append(_picture({"url": block["picture"], "alt": block["alt"], "link": block.get("link")}, setting))
    parts.append(_heading({"text": block["name"], "level": "3"}, setting))
    if block.get("text"):
        parts.append(_text(block, setting))
    if block.get("price"):
        price = setting.keep(f"<strong>{setting.words(block['price'])}</strong>")
        parts.append(f'<mj-text padding="0 24px 6px">{price}</mj-text>')
    if block.get("link"):
        parts.append(_button({"text": block.get("label") or block["name"], "link": block["link"]}, setting))
    return "".join(parts)


def _social(block: Block, setting: Setting) -> str:
    links = " · ".join(
        f'<a href="{setting.attribute(link["url"])}" style="color:{setting.kit.link}">{setting.words(link["name"])}</a>'
        for link in block["links"]
    )
    return f'<mj-text {_align(block)} font-size="14px">{setting.keep(links)}</mj-text>'


def _divider(block: Block, setting: Setting) -> str:
    return "<mj-divider />"


def _spacer(block: Block, setting: Setting) -> str:
    return f'<mj-spacer height="{block.get("height") or 24}px" />'


_ELEMENTS: dict[str, Callable[[Block, Setting], str]] = {
    "heading": _heading,
    "text": _text,
    "picture": _picture,
    "button": _button,
    "product": _product,
    "social": _social,
    "divider": _divider,
    "spacer": _spacer,
}
