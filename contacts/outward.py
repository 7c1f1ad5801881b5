"""Calls to addresses that people typed in: https only, no redirects, and never into our own network.

The address is checked when we connect: the socket goes to the very address that was checked, so a name that answers
something else a moment later (DNS rebinding) gains nothing. Nothing of ours follows redirects or honours a proxy.
"""

import http.client
import io
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.translation import gettext as _

CONNECT_SECONDS = 5.0
# From the first byte we send to the last we read, however slowly the other side drips.
ANSWER_SECONDS = 10.0
# So much of an answer is read; who says more has said enough, and the connection ends.
MOST_ANSWER = 16 * 1024
PORTS = {443, 8443}

# Public by their number, and yet no business of ours: a cloud's own services, and ways to write an inner IPv4 address.
_INNER = [
    ipaddress.ip_network(text)
    for text in (
        *("168.63.129.16/32", "192.88.99.0/24", "192.0.0.0/24"),
        *("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "fec0::/10"),
    )
]
_LOCAL_NAMES = (".localhost", ".local", ".internal", ".intranet", ".lan", ".home", ".corp", ".home.arpa")


class Forbidden(ValueError):
    """An address we do not call; the text is a sentence for whoever typed it in."""


@dataclass(frozen=True)
class Target:
    """Where a call goes: a checked URL in its parts."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What stands in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"https": 443, "http": 80}[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True)
class Answer:
    """What the other side said: its status and the beginning of its body."""

    status: int
    text: str
    retry_after: int | None


def parse(url: str) -> Target:
    """A URL that may be called, as far as can be seen without asking anybody. Raises Forbidden with a sentence.

    WEBHOOK_ALLOW_PRIVATE (for development) also takes http, any port, and names and addresses of our own network.
    """
    is_open = settings.WEBHOOK_ALLOW_PRIVATE
    if not url.isascii() or any(one <= " " or one in '\\"<>^`{|}\x7f' for one in url) or len(url) > 2000:
        raise Forbidden(_("The address holds a character that may not stand in one, or is too long."))
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        raise Forbidden(_("This is not an address.")) from None
    if parts.scheme != "https" and not (is_open and parts.scheme == "http"):
        raise Forbidden(_("The address must begin with https://."))
    if parts.username is not None or parts.password is not None:
        raise Forbidden(_("The address must not hold a user name or a password."))
    if not host or "%" in host:
        raise Forbidden(_("The address names no host."))
    if port is None:
        port = 443 if parts.scheme == "https" else 80
    if not is_open and port not in PORTS:
        raise Forbidden(_("The port must be one of: %(ports)s.") % {"ports": ", ".join(map(str, sorted(PORTS)))})
    literal = _literal(host)
    if not is_open and (
        (literal and not is_public(literal))
        or (not literal and ("." not in host or f".{host}".endswith(_LOCAL_NAMES) or host.endswith(".localdomain")))
    ):
        raise Forbidden(_("The address leads into a private network."))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, path)


def _literal(host: str) -> str:
    """The IP address that a host is written as, also as 0x7f.1 or 2130706433; "" for a name."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host)) if host[:1].isdigit() else ""
    except OSError:
        return ""


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, and not to us, to our network or to nobody."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return is_public(str(ip.ipv4_mapped))
        if ip.scope_id or int(ip) >> 32 == 0:  # ::a.b.c.d, of old
            return False
    if not ip.is_global or ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_link_local:
        return False
    return not any(ip.version == inner.version and ip in inner for inner in _INNER)


def addresses_of(host: str, port: int) -> list[str]:
    """What a name leads to at this moment. Raises OSError where it leads nowhere."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def permitted(addresses: Iterable[str]) -> list[str]:
    """Those of a name's addresses that we may connect to. Raises Forbidden where none is left."""
    allowed = [one for one in addresses if settings.WEBHOOK_ALLOW_PRIVATE or is_public(one)]
    if not allowed:
        raise Forbidden(_("The name leads into a private network."))
    return allowed


class Line:
    """One connection to a target, kept over several calls. For one thread; close it at the end."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._raw: socket.socket | None = None

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Posts and reads the answer. Raises Forbidden, OSError (also for time that ran out), HTTPException."""
        return self.request("POST", body, headers)

    def request(self, method: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Asks by any method and reads the answer. Raises as `post`."""
        if self._raw is not None:
            try:
                return self._request(self._raw, method, body, headers)
            except (ConnectionError, ssl.SSLError):  # ended while nobody spoke; RemoteDisconnected is one, too
                self.close()
        self._raw = _connect(self.target)
        return self._request(self._raw, method, body, headers)

    def _request(self, raw: socket.socket, method: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        connection = http.client.HTTPConnection(self.target.host, self.target.port)
        connection.auto_open = 0  # it must never look up a name by itself
        connection.sock = _Wire(raw, time.monotonic() + ANSWER_SECONDS)  # type: ignore[assignment]
        is_reusable = False
        try:
            connection.request(method, self.target.path, body or None, {"Host": self.target.authority, **headers})
            response = connection.getresponse()
            text = response.read(MOST_ANSWER)
            is_whole = response.isclosed() or not response.read(1)
            is_reusable = is_whole and not response.will_close
        finally:
            if not is_reusable:
                self.close()
        wait = response.headers.get("Retry-After", "")
        retry_after = int(wait) if wait.isascii() and wait.isdecimal() and len(wait) < 7 else None
        return Answer(response.status, text[:500].decode("utf-8", "replace").replace("\0", ""), retry_after)

    def close(self) -> None:
        if self._raw is not None:
            self._raw.close()
            self._raw = None


def _connect(target: Target) -> socket.socket:
    until = time.monotonic() + CONNECT_SECONDS
    raw = _reach(permitted(addresses_of(target.host, target.port)), target.port, until)
    try:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if target.scheme == "https":
            raw.settimeout(max(0.1, until - time.monotonic()))
            return ssl.create_default_context().wrap_socket(raw, server_hostname=target.host)
    except BaseException:
        raw.close()
        raise
    return raw


def _reach(addresses: list[str], port: int, until: float) -> socket.socket:
    """A socket to the first of these addresses that answers."""
    last: OSError = TimeoutError("no time left")
    for address in addresses:
        left = until - time.monotonic()
        if left <= 0:
            break
        try:
            # A number needs no look-up: what was checked is what we connect to.
            return socket.create_connection((address, port), timeout=left)
        except OSError as error:
            last = error
    raise last


class _Wire:
    """A socket for http.client whose reads and writes all end at one moment, however slowly the bytes drip."""

    def __init__(self, raw: socket.socket, until: float) -> None:
        self._raw, self._until = raw, until

    def hurried(self) -> socket.socket:
        """The socket, with the time that is left. Raises TimeoutError where none is."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._raw.settimeout(left)
        return self._raw

    def sendall(self, data: bytes) -> None:
        self.hurried().sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reading(self))

    def close(self) -> None:
        """The line closes its socket itself, when the answer was read."""


class _Reading(io.RawIOBase):
    """What http.client reads one answer from."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self._wire.hurried().recv_into(buffer)
