"""Programs that look like people: robots, link scanners, image proxies.

What shows from one request alone is asked here; what shows from others around it (haste, bursts, crowds, the hidden
link) in `queries/hits.sql`. Who is known by name stands in `machines.toml`, with the version of all these rules.
"""

import re
import tomllib
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from crawlerdetect import CrawlerDetect
from django.utils.translation import gettext_lazy as _

_KNOWN = tomllib.loads((Path(__file__).parent / "machines.toml").read_text())
# Of the rules by which a verdict was found.
VERSION: int = _KNOWN["version"]

# In the order in which they are asked; the first that holds is the reason.
REASONS = {
    "honeypot": _("It followed a link that no person can see, or came with something that did."),
    "head": _("It only asked whether the link is there."),
    "no_agent": _("It did not say which program it is."),
    "gmail_privacy": _("Gmail's server fetched the picture, whoever looks or does not look."),
    "yahoo_privacy": _("Yahoo's server fetched the picture, whoever looks or does not look."),
    "scanner": _("It is a known security scanner, by its name or its network."),
    "apple_privacy": _("Apple's mail privacy fetched the picture, whoever looks or does not look."),
    "bare_agent": _("It called itself Mozilla/5.0 and nothing more, which no browser does."),
    "robot": _("It is a known robot."),
    "too_fast": _("It came sooner after sending than a person can read: 2 seconds for a click, 5 for an open."),
    "all_links": _("All links of the mail were followed within 2 seconds."),
    "crowd": _("It came for three people or more of one company within the same second."),
}
# Opens of which nobody knows whether a person looked: told apart from robots, and never counted as people.
PRIVACY = ("apple_privacy", "gmail_privacy", "yahoo_privacy")

_detector = CrawlerDetect()
# The detector's patterns take milliseconds for a long text of a stranger's choice; robots name themselves sooner.
_MOST_LETTERS = 300
# Mail programs that fetch pictures for the person in front of them, although lists of robots name some of them.
_MAIL_PROGRAMS = re.compile(r"Microsoft Outlook|MSOffice|Thunderbird|Apple-Mail|Mailbird|eM Client", re.IGNORECASE)


def _any_of(names: list[str]) -> re.Pattern:
    return re.compile("|".join(map(re.escape, names)), re.IGNORECASE)


_PROXIES = [(one["reason"], _any_of(one["agents"])) for one in _KNOWN["privacy_proxies"]]
_SCANNERS = _any_of([agent for one in _KNOWN["scanners"] for agent in one["agents"]])
_SCANNER_NETWORKS = [ip_network(text) for one in _KNOWN["scanners"] for text in one.get("networks", [])]


@lru_cache(maxsize=16_384)
def reason(method: str, user_agent: str, network: str = "", *, is_open: bool) -> str:
    """Why this request was made by a program, as far as it shows by itself; "" where it may be a person."""
    if method == "HEAD":
        return "head"
    agent = user_agent.strip()[:_MOST_LETTERS]
    if not agent:
        return "no_agent"
    for name, proxy in _PROXIES:
        if proxy.search(agent):
            return name
    if _SCANNERS.search(agent) or _is_scanners(network):
        return "scanner"
    if agent == "Mozilla/5.0":
        return "apple_privacy" if is_open else "bare_agent"
    if is_open and _MAIL_PROGRAMS.search(agent):
        return ""
    return "robot" if _detector.is_crawler(agent) else ""


def _is_scanners(network: str) -> bool:
    if not network:
        return False
    there = ip_network(network)
    return any(_holds(one, there) for one in _SCANNER_NETWORKS)


def _holds(whole: IPv4Network | IPv6Network, part: IPv4Network | IPv6Network) -> bool:
    return whole.version == part.version and whole.supernet_of(part)  # type: ignore[arg-type]


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """What may be kept of an IP address: its /24, of IPv6 its /48; "" of what is none."""
    try:
        return str(ip_network(f"{address.split('%')[0]}/{48 if ':' in address else 24}", strict=False))
    except ValueError:
        return ""


def sentence(reason: str) -> str:
    """The reason in words."""
    return str(REASONS.get(reason, reason))
