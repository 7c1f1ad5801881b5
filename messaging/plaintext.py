"""The text part of a mail, made from its HTML."""

import re
from html.parser import HTMLParser

_BLOCKS = {"p", "div", "table", "tr", "ul", "ol", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "section"}
_SILENT = {"style", "script", "title", "head"}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self.silent = 0
        self.links: list[tuple[str, int]] = []
        self.lists: list[int | None] = []
        self.is_pre = False

    def _break(self, lines: int) -> None:
        self.out.append("\n" * lines)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in _SILENT or "data-html-only" in values:
            self.silent += tag not in ("img", "br", "hr", "meta", "link")
            return
        if self.silent:
            self.silent += tag not in ("img", "br", "hr", "meta", "link", "input", "col")
        elif tag == "br":
            self._break(1)
        elif tag == "hr":
            self.out.append("\n\n----\n\n")
        elif tag == "li":
            self._break(1)
            number = self.lists[-1] if self.lists else None
            self.out.append("- " if number is None else f"{number}. ")
            if number is not None:
                self.lists[-1] = number + 1
        elif tag == "a":
            self.links.append((values.get("href") or "", len(self.out)))
        elif tag == "img" and values.get("alt"):
            self.out.append(str(values["alt"]))
        elif tag in _BLOCKS:
            self._break(1 if tag in ("tr", "div") else 2)
            self.is_pre = self.is_pre or tag == "pre"
        if tag in ("ul", "ol") and not self.silent:
            self.lists.append(1 if tag == "ol" else None)

    def handle_endtag(self, tag: str) -> None:
        if self.silent:
            self.silent -= 1
            return
        if tag == "a" and self.links:
            href, start = self.links.pop()
            label = "".join(self.out[start:]).strip()
            if href and href != label and not href.startswith("#"):
                self.out.append(f" ({href.removeprefix('mailto:')})" if label != href.removeprefix("mailto:") else "")
        elif tag in ("ul", "ol"):
            self.lists = self.lists[:-1]
            self._break(2)
        elif tag in _BLOCKS:
            self._break(1 if tag in ("tr", "div") else 2)
            self.is_pre = self.is_pre and tag != "pre"

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.out.append(data if self.is_pre else re.sub(r"[ \t\r\n\f]+", " ", data))

    def handle_comment(self, data: str) -> None:
        # Liquid's tags hide in comments while the markup is worked on (see `markup.hide`).
        if data.startswith("LQ") and not self.silent:
            self.out.append(f"<!--{data}-->")


def tidy(text: str) -> str:
    """No blanks around lines, at most one empty line between two others."""
    text = re.sub(r"[ \t\r\f\v]*\n[ \t\r\f\v]*", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" {2,}", " ", text)).strip() + "\n"


def from_html(html: str) -> str:
    """The readable text of an HTML document; links stand behind their words in parentheses."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return tidy("".join(reader.out))
