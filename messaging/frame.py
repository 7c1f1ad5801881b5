"""The brand around every mail: its head and foot, its colours and letters, by day and in dark mode.

No text can leave it off. A kit's colours and fonts are looked at once more here: what is no colour becomes the plain
one, so nothing but a colour ever stands in a style.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import override

from messaging import colours

# What stands where a brand's kit says nothing.
PLAIN = {
    "primary": "#1a56db", "button_text": "", "text": "#1f2328", "link": "", "background": "#ffffff",
    "dark_primary": "", "dark_text": "#e8eaed", "dark_link": "", "dark_background": "#1b1d21",
}  # fmt: skip
LETTERS = "Arial, Helvetica, sans-serif"
_COLOUR = re.compile(r"#[0-9a-fA-F]{3,8}|[a-z]{3,20}")
_FONTS = re.compile(r"[\w \-,'\"]{3,200}")


@dataclass(frozen=True)
class Kit:
    """How a brand looks: colours by their names in `PLAIN`, fonts, and how round buttons are (px)."""

    primary: str
    button_text: str
    text: str
    link: str
    background: str
    dark_primary: str
    dark_text: str
    dark_link: str
    dark_background: str
    body_font: str
    heading_font: str
    button_radius: int

    @classmethod
    def of(cls, brand: Mapping[str, Any]) -> "Kit":
        """The kit of a frozen brand; one that was frozen before there were kits has the plain one."""
        told, fonts = brand.get("colours") or {}, brand.get("fonts") or {}
        said = {name: _colour(told.get(name), plain) for name, plain in PLAIN.items()}
        said["button_text"] = said["button_text"] or _readable_on(said["primary"])
        said["link"] = said["link"] or said["primary"]
        said["dark_primary"] = said["dark_primary"] or _bright(said["primary"])
        said["dark_link"] = said["dark_link"] or _bright(said["link"])
        body = _letters(fonts.get("body"), LETTERS)
        radius = brand.get("button_radius")
        return cls(
            **said,
            body_font=body,
            heading_font=_letters(fonts.get("heading"), body),
            button_radius=radius if isinstance(radius, int) and 0 <= radius <= 60 else 6,
        )


def _colour(told: Any, plain: str) -> str:
    return told if isinstance(told, str) and _COLOUR.fullmatch(told) else plain


def _letters(told: Any, plain: str) -> str:
    # In an attribute a family of several words stands in single quotes.
    return told.replace('"', "'") if isinstance(told, str) and _FONTS.fullmatch(told) else plain


def _readable_on(colour: str) -> str:
    """White or black, whichever is read better on a colour."""
    read = colours.read(colour)
    black, white = (0, 0, 0), (255, 255, 255)
    return "#000000" if read and colours.contrast(read, black) > colours.contrast(read, white) else "#ffffff"


def _bright(colour: str) -> str:
    """A colour made light enough to be read on a dark ground."""
    read = colours.read(colour)
    if read is None:
        return "#a9c7ff"
    red, green, blue = (round(one + (255 - one) * 0.55) for one in read)
    return colours.written((red, green, blue))


def preheader(text: str) -> str:
    """The words behind the subject in an inbox; `text` is HTML."""
    # Invisible blanks keep the mail's first words out of the preview line. Not in the text part: nothing hides there.
    return (
        f'<div data-html-only style="display:none;max-height:0;overflow:hidden">{text}{"&#8199;&#65279;" * 20}</div>'
        if text
        else ""
    )


def hidden_link(address: str) -> str:
    """A link that only programs follow (see `machines`).

    First, so that a scanner meets it before all others; nobody sees it, hears it or reaches it by keys.
    """
    return (
        '<div data-html-only aria-hidden="true" style="display:none;max-height:0;overflow:hidden">'
        f'<a href="{address}" tabindex="-1"></a></div>'
    )


def header(brand: Mapping[str, Any], kit: Kit) -> str:
    name = escape(brand["name"])
    logo = str(brand.get("logo_url") or "")
    inner = name
    if logo.startswith(("https://", "http://")):
        inner = f'<img src="{escape(logo)}" alt="{name}" height="40" style="border:0;height:40px">'
    return (
        f'<div class="head" style="padding:20px 24px;border-top:4px solid {kit.primary};font-family:{kit.heading_font};'
        f'font-size:18px;line-height:24px;font-weight:bold;color:{kit.primary}">{inner}</div>'
    )


def footer(
    brand: Mapping[str, Any], kit: Kit, *, may_unsubscribe: bool, language: str, mark: Callable[[str], str]
) -> str:
    """The postal address, the legal text and, where there is one, the way out; `mark` hides Liquid."""
    lines = [f"{escape(brand['name'])}<br>{escape(brand['postal_address'])}"]
    legal = brand.get("legal") or {}
    if text := legal.get(language) or legal.get(language.split("-")[0]) or legal.get(""):
        lines.append(escape(str(text)))
    if may_unsubscribe:
        style = 'style="color:#555555;text-decoration:underline"'
        with override(language):
            unsubscribe, preferences = escape(_("Unsubscribe")), escape(_("Choose what you hear from us"))
        lines.append(
            f'<a href="{mark("{{ links.unsubscribe }}")}" {style}>{unsubscribe}</a> · '
            f'<a href="{mark("{{ links.preferences }}")}" {style}>{preferences}</a>'
        )
    text = "".join(f'<p style="margin:0 0 8px">{line}</p>' for line in lines)
    return (
        f'<div class="foot" style="padding:20px 24px;font-family:{kit.body_font};font-size:12px;line-height:18px;'
        # Its own ground: grey is read on white, whatever the brand's is.
        f'color:#555555;background-color:#ffffff;border-top:1px solid #dddddd">{text}</div>'
    )


def shell_css(kit: Kit) -> str:
    """The style of a mail that is one text (Markdown, HTML), to be put inline."""
    return f"""
body {{ margin: 0; background-color: #f4f4f5; font-family: {kit.body_font}; }}
.letter {{ width: 100%; max-width: 600px; margin: 0 auto; background-color: {kit.background}; }}
.text {{ padding: 8px 24px 24px; font-size: 16px; line-height: 24px; color: {kit.text}; text-align: left; }}
.text a {{ color: {kit.link}; }}
.text h1, .text h2, .text h3 {{ font-family: {kit.heading_font}; }}
.text h1 {{ font-size: 24px; line-height: 32px; }}
.text h2 {{ font-size: 20px; line-height: 28px; }}
.text p, .text ul, .text ol {{ margin: 0 0 16px; }}
.text img {{ max-width: 100%; border: 0; }}
.text blockquote {{ margin: 0 0 16px; padding-left: 16px; border-left: 3px solid #dddddd; }}
"""


def block_css(kit: Kit) -> str:
    """The style of the texts in blocks, to be put inline."""
    return f"""
p, ul, ol {{ margin: 0 0 12px; }}
a {{ color: {kit.link}; }}
h1, h2, h3 {{ font-family: {kit.heading_font}; }}
blockquote {{ margin: 0 0 12px; padding-left: 16px; border-left: 3px solid #dddddd; }}
img {{ max-width: 100%; border: 0; }}
"""


def knows_dark(html: str, kit: Kit) -> str:
    """A mail that says how it looks in dark mode: programs change colours of their own accord in one that does not."""
    dark = f"""<meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark">
<style>:root {{ color-scheme: light dark; supported-color-schemes: light dark; }}
@media (prefers-color-scheme: dark) {{
body, .ground {{ background-color: #111317 !important; }}
.letter, .letter > table, .foot {{ background: {kit.dark_background} !important; \
background-color: {kit.dark_background} !important; }}
.text, .text p, .text li, .text h1, .text h2, .text h3, .ink div, .ink p, .ink li, .ink h1, .ink h2, .ink h3
{{ color: {kit.dark_text} !important; }}
.head {{ color: {kit.dark_primary} !important; }}
.text a, .ink a {{ color: {kit.dark_link} !important; }}
.foot, .foot p, .foot a {{ color: #b4bac4 !important; }}
}}</style>"""
    return html.replace("</head>", f"{dark}</head>", 1)
