"""Campaign parameters (UTM) on links: by rules of the workspace, on the brand's own pages, added without harm.

A rule is a text with placeholders: `{journey}`, `{template}`, `{topic}`, `{class}`, `{language}`. All but the journey
are known when a template is frozen and built; the journey is filled in where the link is stored.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote_plus, urlsplit

from django.utils.translation import gettext as _

PARAMETERS = ("source", "medium", "campaign", "content", "term")
PLACEHOLDERS = ("journey", "template", "topic", "class", "language")
# Stands for the journey's key in a link until the mail is written; no key contains it.
JOURNEY = "\ue002"
# And this one for the language, until the mail is built.
LANGUAGE = "\ue003"
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def problem(rule: str) -> str:
    """What is in braces in a rule and is no placeholder; empty where all is known."""
    unknown = [name for name in _PLACEHOLDER.findall(rule) if name not in PLACEHOLDERS]
    left = re.findall(r"[{}]", _PLACEHOLDER.sub("", rule))
    return f"{{{unknown[0]}}}" if unknown else "".join(left[:1])


def own_problem(own: Any) -> str:
    """Why these can not be a template's own parameters, as a sentence; empty where they can."""
    if not isinstance(own, dict) or not set(own) <= {"off", *PARAMETERS}:
        known = ", ".join(["off", *PARAMETERS])
        return _("This is a mapping of %(known)s.") % {"known": known}
    if "off" in own and not isinstance(own["off"], bool):
        return _("“off” is true or false.")
    for name in PARAMETERS:
        if name in own:
            if not isinstance(own[name], str):
                return _("“%(name)s” must be text.") % {"name": name}
            if unknown := problem(own[name]):
                return unknown_placeholder(unknown)
    return ""


def unknown_placeholder(what: str) -> str:
    known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    return _("There is no %(what)s; there are %(known)s.") % {"what": what, "known": known}


def resolve(rules: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """The value of each parameter with the placeholders filled in, the journey's mark among them."""
    known = {**names, "journey": JOURNEY, "language": LANGUAGE}
    found = {}
    for parameter in PARAMETERS:
        value = _PLACEHOLDER.sub(lambda match: known.get(match[1], ""), rules.get(parameter) or "").strip()
        if value:
            found[f"utm_{parameter}"] = value
    return found


def is_own(host: str, hosts: Iterable[str]) -> bool:
    """Whether a host is one of these or lies under one of them."""
    host = host.lower().rstrip(".")
    return any(host == own or host.endswith(f".{own}") for own in hosts)


def own_host(url: str) -> str:
    """The host of a website as links are compared with it, without `www.`; empty where it has none."""
    try:
        return _ascii((urlsplit(url).hostname or "").lower().rstrip(".").removeprefix("www."))
    except ValueError:
        return ""


def _ascii(host: str) -> str:
    try:
        return host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        return host


def in_language(tags: Mapping[str, Any] | None, language: str) -> dict[str, Any] | None:
    """A template's tags for one of its languages."""
    if not tags:
        return None
    return {**tags, "params": {name: value.replace(LANGUAGE, language) for name, value in tags["params"].items()}}


def tag(url: str, tags: Mapping[str, Any] | None) -> str:
    """The address with those parameters that it does not have yet. All that it says stays to the letter.

    `tags`: `params` by name; `hosts` whose pages get them; `is_everywhere` for all hosts.
    """
    if not tags or not url.lower().startswith(("http://", "https://")):
        return url
    try:
        host = _ascii(urlsplit(url).hostname or "")
    except ValueError:
        return url
    if not host or not (tags.get("is_everywhere") or is_own(host, tags.get("hosts") or ())):
        return url
    rest, hash_, fragment = url.partition("#")
    address, mark, query = rest.partition("?")
    there = {unquote_plus(pair.partition("=")[0]).lower() for pair in re.split(r"[&;]", query)}
    added = "&".join(f"{name}={_encoded(value)}" for name, value in tags["params"].items() if name not in there)
    if not added:
        return url
    if not mark and address.count("/") == 2:
        address += "/"
    joint = "" if not query or query.endswith("&") else "&"
    return f"{address}?{query}{joint}{added}{hash_}{fragment}"


def _encoded(value: str) -> str:
    return JOURNEY.join(quote(part, safe="") for part in value.split(JOURNEY))


def of_journey(url: str, journey: str) -> str:
    """The address once it is known in which journey it is sent; outside of any, its place says `none`."""
    return url.replace(JOURNEY, quote(journey or "none", safe=""))
