"""Colours as people write them, and how well one is read upon another (WCAG 2.2)."""

import re

Colour = tuple[int, int, int]

# Those that people do write; the others of CSS's 148 names are not looked at.
_NAMES = {
    "aqua": "#00ffff", "black": "#000000", "blue": "#0000ff", "brown": "#a52a2a", "coral": "#ff7f50",
    "crimson": "#dc143c", "cyan": "#00ffff", "darkblue": "#00008b", "darkgray": "#a9a9a9", "darkgreen": "#006400",
    "darkgrey": "#a9a9a9", "darkred": "#8b0000", "deeppink": "#ff1493", "dimgray": "#696969", "dimgrey": "#696969",
    "fuchsia": "#ff00ff", "gold": "#ffd700", "gray": "#808080", "green": "#008000", "grey": "#808080",
    "hotpink": "#ff69b4", "indigo": "#4b0082", "ivory": "#fffff0", "khaki": "#f0e68c", "lightblue": "#add8e6",
    "lightgray": "#d3d3d3", "lightgreen": "#90ee90", "lightgrey": "#d3d3d3", "lime": "#00ff00", "magenta": "#ff00ff",
    "maroon": "#800000", "navy": "#000080", "olive": "#808000", "orange": "#ffa500", "orangered": "#ff4500",
    "pink": "#ffc0cb", "purple": "#800080", "rebeccapurple": "#663399", "red": "#ff0000", "royalblue": "#4169e1",
    "salmon": "#fa8072", "silver": "#c0c0c0", "skyblue": "#87ceeb", "teal": "#008080", "tomato": "#ff6347",
    "turquoise": "#40e0d0", "violet": "#ee82ee", "white": "#ffffff", "yellow": "#ffff00",
}  # fmt: skip
_HEX = re.compile(r"#([0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})")
_RGB = re.compile(r"rgba?\(\s*(\d{1,3})\s*[, ]\s*(\d{1,3})\s*[, ]\s*(\d{1,3})\s*(?:[,/]\s*([\d.]+)(%?)\s*)?\)")
_ANY = re.compile(r"#[0-9a-fA-F]{3,8}\b|rgba?\([^)]{1,40}\)|\b[a-zA-Z]{3,14}\b")


def read(text: str, upon: Colour = (255, 255, 255)) -> Colour | None:
    """The colour that `#0b6`, `#00bb66`, `rgb(0, 187, 102)` or `green` says; None for what says none.

    One that lets something through is mixed with what lies under it.
    """
    text = text.strip().lower()
    text = _NAMES.get(text, text)
    alpha = 1.0
    if match := _HEX.fullmatch(text):
        digits = match[1] if len(match[1]) > 4 else "".join(2 * one for one in match[1])
        red, green, blue = (int(digits[place : place + 2], 16) for place in (0, 2, 4))
        alpha = int(digits[6:8], 16) / 255 if len(digits) == 8 else 1.0
    elif match := _RGB.fullmatch(text):
        red, green, blue = (min(int(one), 255) for one in match.groups()[:3])
        if match[4]:
            try:
                alpha = min(1.0, float(match[4]) / (100 if match[5] else 1))
            except ValueError:
                return None
    else:
        return None
    mixed = [round(alpha * one + (1 - alpha) * under) for one, under in zip((red, green, blue), upon, strict=True)]
    return mixed[0], mixed[1], mixed[2]


def find(text: str) -> list[str]:
    """The colours written in a stretch of CSS, such as `1px solid #0b6`."""
    return [one for one in _ANY.findall(text) if read(one) is not None]


def written(colour: Colour) -> str:
    """As `#00bb66`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def is_neutral(colour: Colour) -> bool:
    """Black, white and what lies between: these belong to every brand."""
    return max(colour) - min(colour) <= 12


def _light(colour: Colour) -> float:
    def linear(part: int) -> float:
        share = part / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    red, green, blue = map(linear, colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Colour, other: Colour) -> float:
    """From 1 (the same) to 21 (black on white), as WCAG reckons it."""
    lights = sorted((_light(one), _light(other)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)
