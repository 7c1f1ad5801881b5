"""Names that people write in several languages, in the reader's own."""

from typing import Any

from django.utils.translation import get_language


def in_language(names: Any, name: str) -> str:
    """The entry of `names` (language → name) for the language of the page; `name` where there is none."""
    told = names.get((get_language() or "").partition("-")[0]) if isinstance(names, dict) else None
    return told if isinstance(told, str) and told else name
