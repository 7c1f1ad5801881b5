"""What the style sheet of a mail does to its words, where a mail keeps one: MJML's stands in its head as written.

The linter reads styles where the words stand, so the sheet is put there first, as a mail program applies it. What is
said for small screens counts as said; what is said for dark mode or for paper alone does not.
"""

import re

import css_inline

_STYLE = re.compile(r"(<style\b[^>]*>)(.*?)(</style>)", re.DOTALL | re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_AT = re.compile(r"@(media|supports|layer)\b([^{};]*)\{((?:[^{}]*\{[^{}]*\}){0,500}[^{}]*)\}", re.IGNORECASE)
_ELSEWHERE = re.compile(r"prefers-color-scheme|\bprint\b", re.IGNORECASE)
# So deep may these rules stand in each other; nobody writes more.
_DEEP = 3
_inliner = css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=False)


def in_place(html: str) -> str:
    """The page with its style sheets where they apply; as it is where it has none."""
    if not _STYLE.search(html):
        return html
    return _inliner.inline(_STYLE.sub(lambda sheet: f"{sheet[1]}{_flat(sheet[2])}{sheet[3]}", html))


def _flat(css: str) -> str:
    css = _COMMENT.sub("", css)
    for _deep in range(_DEEP):
        css = _AT.sub(lambda rule: "" if _ELSEWHERE.search(rule[2]) else rule[3], css)
    return css
