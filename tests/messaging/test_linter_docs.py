"""The table of rules in docs/brand.md is that of the registry; `LINTER_RULES=write` writes it."""

import os
from pathlib import Path

from messaging.linter import RULES

PAGE = Path(__file__).parents[2] / "docs" / "brand.md"
_START, _END = "test_linter_docs.py` -->\n", "<!-- end of rules -->"


def table() -> str:
    lines = ["", "| rule | gravity | what | how to mend it |", "|---|---|---|---|"]
    for rule in RULES.values():
        gravity = "unsendable" if rule.is_unsendable else rule.severity
        mend = str(rule.mend).replace("{{", "`{{").replace("}}", "}}`").replace("|", "\\|")
        lines.append(f"| `{rule.id}` | {gravity} | {rule.title} | {mend} |")
    return "\n".join([*lines, "", ""])


def test_the_docs_name_every_rule_as_it_is():
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(_START)
    written, after = rest.split(_END)
    if os.environ.get("LINTER_RULES") == "write":
        PAGE.write_text(before + _START + table() + _END + after, encoding="utf-8")
        return
    assert written == table()
