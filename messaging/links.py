"""The links in mails: what they lead to is stored when the mail is made, and nothing else is ever redirected to."""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from urllib.parse import quote, urlsplit, urlunsplit

from django.conf import settings

from messaging.models import Link


def store(urls: Iterable[str], now: datetime) -> dict[str, int]:
    """The ids under which URLs are kept; unknown ones are added."""
    wanted = {url: hashlib.sha256(url.encode()).digest() for url in urls}
    if not wanted:
        return {}

    def known() -> dict[str, int]:
        return dict(Link.objects.filter(digest__in=wanted.values()).values_list("url", "pk"))

    found = known()
    missing = [Link(digest=wanted[url], url=url, created_at=now) for url in sorted(wanted) if url not in found]
    if missing:
        Link.objects.bulk_create(missing, ignore_conflicts=True)
        found = known()
    return found


def location(url: str) -> str:
    """A stored URL as it may stand in a Location header: what is ASCII stays to the letter, the rest is encoded."""
    if url.isascii() and url.isprintable() and " " not in url:
        return url
    try:
        parts = urlsplit(url)
        netloc = parts.netloc
        if not netloc.isascii():
            host = (parts.hostname or "").encode("idna").decode()
            netloc = host + (f":{parts.port}" if parts.port else "")
        url = urlunsplit((parts.scheme, netloc, parts.path, parts.query, parts.fragment))
    except (ValueError, UnicodeError):
        pass
    return quote(url, safe="!#$%&'()*+,/:;=?@[]~-._")


def host() -> str:
    """The domain of Message-ID and List-Id: that of BASE_URL."""
    name = urlsplit(settings.BASE_URL).hostname or "localhost"
    return f"[{name}]" if name.replace(".", "").isdigit() or ":" in name else name.encode("idna").decode()
