"""How people read our mails, and programs before them: each open and click is a hit, as if by the address in the mail.

Hits are judged by the tick like all others: what a scanner or a privacy proxy did counts for nobody.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from random import Random

from journey_crm.demo_company.people import Person
from messaging import links, utm
from messaging.gathering import Taken
from messaging.models import Hit, Message, TemplateVersion
from messaging.versions import skeleton

# A mail program: how it names itself when it shows pictures, and the browser that it opens links in.
_SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1"  # fmt: skip
_CHROME = "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Mobile Safari/537.36"  # fmt: skip
_EDGE = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36 Edg/143.0.0.0"  # fmt: skip
_FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
_PROGRAMS = [
    ("Mozilla/5.0", _SAFARI, 22),
    ("Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)", _CHROME, 20),
    ("Mozilla/4.0 (compatible; ms-office; MSOffice 16; Microsoft Outlook 16.0)", _EDGE, 16),
    (_FIREFOX, _FIREFOX, 42),
]
# What stands before the mail of bigger companies: one names itself, the other is known by its network.
_SCANNERS = [
    ("Mozilla/5.0 (compatible; Barracuda Sentinel (EE))", "209.222.82.0/24"),
    (_EDGE, "67.231.152.0/24"),
]
_NETWORKS = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"]


@dataclass(frozen=True)
class Habits:
    """By what programs a person reads, from which network, and what looks at the mail first, if anything does."""

    shows: str
    opens: str
    network: str
    scanner: tuple[str, str] | None


@lru_cache(maxsize=10_000)
def habits(number: int, domain: str, is_big: bool) -> Habits:
    """The same for a person every time; a company's scanner is that of all its people."""
    random = Random(f"program {number}")
    shows, opens, _weight = random.choices(_PROGRAMS, [weight for _shows, _opens, weight in _PROGRAMS])[0]
    gate = Random(f"gate {domain}")
    scanner = gate.choice(_SCANNERS) if is_big and gate.random() < 0.6 else None
    return Habits(shows, opens, random.choice(_NETWORKS), scanner)


def habits_of(person: Person) -> Habits:
    """How this person reads."""
    firm = person.firm
    return habits(person.number, firm.domain if firm else "", bool(firm and firm.employees >= 20))


class Links:
    """Which links stand in a mail, by their ids: asked once for each version, language and journey."""

    def __init__(self) -> None:
        self._known: dict[tuple[int | None, str, str], list[tuple[int, str]]] = {}

    def of(self, message: Message, now: datetime) -> list[tuple[int, str]]:
        """(id, URL) of each link, in their order."""
        key = (message.version_id, message.language, message.journey_key)
        if message.version_id and key not in self._known:
            letter = skeleton(TemplateVersion.objects.get(pk=message.version_id), message.language).letter
            urls = [utm.of_journey(url, message.journey_key) for url in letter.links]
            stored = links.store(urls, now)
            self._known[key] = [(stored[url], url) for url in urls]
        return self._known.get(key, [])


def opened(message: Message, person: Person, at: datetime) -> Taken:
    """The mail's picture is fetched: by the person's program, or by a proxy on its behalf."""
    his = habits_of(person)
    return Taken(message.pk, None, at, "GET", his.shows, his.network)


def clicked(message: Message, person: Person, link: int, at: datetime) -> Taken:
    """A link is followed in the person's browser."""
    his = habits_of(person)
    return Taken(message.pk, link, at, "GET", his.opens, his.network)


def scanned(message: Message, person: Person, found: list[tuple[int, str]], at: datetime) -> Iterator[Taken]:
    """What a security gateway does before anybody sees the mail: all links within a second, the hidden one too."""
    scanner = habits_of(person).scanner
    if scanner is None:
        return
    agent, network = scanner
    for place, link in enumerate([*(pk for pk, _url in found), Hit.HIDDEN_LINK]):
        moment = at + timedelta(seconds=6, milliseconds=180 * place)
        # In a mail that is no marketing no hidden link stands.
        if link or message.message_class == "marketing":
            yield Taken(message.pk, link, moment, "GET", agent, network)
