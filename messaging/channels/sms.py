"""SMS: by a gateway over HTTP, or into files, one each: the default, so that nobody is written to by mistake."""

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import requests
from django.core.exceptions import ImproperlyConfigured

from messaging.channels.contract import Outgoing, Result, Send
from messaging.channels.web import judged, outcome_of, spread
from messaging.failpoints import FailpointError, hit


def _bad(reason: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"SMS_URL: {reason}")


def choose(url: str) -> Send:
    """The channel that SMS_URL names. Raises ImproperlyConfigured saying what is wrong with it.

    `https://user:password@host/path?from=Acme&connections=4&timeout=30` · `http://…` · `file:<folder>`
    """
    scheme, _, rest = url.partition(":")
    if scheme == "file":
        if not rest.removeprefix("//"):
            raise _bad("file: needs a folder, such as file:/var/sms.")
        return _files(rest.removeprefix("//"))
    if scheme not in ("http", "https"):
        raise _bad(f"it must begin with https://, http:// or file:, not {scheme or url!r}.")
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise _bad(f"{error}.") from None
    if not parts.hostname:
        raise _bad("it names no host; write https://user:password@host/path.")
    query = dict(parse_qsl(parts.query))
    try:
        connections, timeout = int(query.pop("connections", 4)), float(query.pop("timeout", 30))
    except ValueError:
        raise _bad("connections and timeout must be numbers.") from None
    if not 1 <= connections <= 100 or not 0 < timeout <= 600:
        raise _bad("connections must be 1 to 100 and timeout up to 600 seconds.")
    sender = query.pop("from", "")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    # What is not ours in the query is the gateway's.
    address = urlunsplit((scheme, host + port, parts.path or "/", urlencode(query), ""))
    who = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return _gateway(address, who, sender, connections, timeout)


# A gateway -----------------------------------------------------------------------------------------------------------


def _gateway(address: str, who: tuple[str, str] | None, sender: str, connections: int, timeout: float) -> Send:
    """Posts each SMS as JSON; the gateway knows a repeat by its key (see docs/channels.md)."""
    idle: deque[requests.Session] = deque()

    def connect() -> requests.Session:
        session = requests.Session()
        session.auth = who
        # Neither .netrc nor a proxy of the environment: the setting alone says where and as whom.
        session.trust_env = False
        return session

    def send(messages: Iterable[Outgoing]) -> Iterator[Result]:
        yield from spread(messages, connections, idle, connect, partial(_post, address, sender, timeout))

    return send


def _post(address: str, sender: str, timeout: float, session: requests.Session, message: Outgoing) -> Result:
    told = {
        "id": message.id,
        "to": message.recipient,
        "from": sender,
        "text": message.raw.decode(),
        "key": message.key,
    }
    try:
        hit("before_data")
        answer = session.post(
            address,
            data=json.dumps(told, ensure_ascii=False).encode(),
            headers={"Content-Type": "application/json", "Idempotency-Key": message.key},
            timeout=(min(timeout, 10), timeout),
            allow_redirects=False,
        )
        hit("after_data")
    except FailpointError as error:
        return Result(message.id, "uncertain" if "after" in str(error) else "later", str(error))
    except requests.RequestException as error:
        return Result(message.id, outcome_of(error), type(error).__name__)
    return Result(message.id, judged(answer.status_code), f"HTTP {answer.status_code} {answer.text[:300]}".strip())


# Files ---------------------------------------------------------------------------------------------------------------


def _files(path: str) -> Send:
    """Writes `<path>/<message>.json`; a file appears there whole or not at all."""
    folder = Path(path)

    def send(messages: Iterable[Outgoing]) -> Iterator[Result]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            for message in messages:
                yield Result(message.id, "unreachable", f"{folder}: {error.strerror}")
            return
        for message in messages:
            yield _write(folder, message)

    return send


def _write(folder: Path, message: Outgoing) -> Result:
    """A second attempt at the same message takes the place of the first: it is the same SMS."""
    name = f"{message.id:012d}.json"
    draft = folder / f".{name}.{os.getpid()}"
    is_handed_over = False
    try:
        hit("before_data")
        told = {"to": message.recipient, "text": message.raw.decode(), "key": message.key}
        draft.write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
        draft.rename(folder / name)
        is_handed_over = True
        hit("after_data")
    except Exception as error:
        draft.unlink(missing_ok=True)
        return Result(message.id, "uncertain" if is_handed_over else "later", f"{type(error).__name__}: {error}")
    return Result(message.id, "sent", f"written to {name}")


def forget(url: str, messages: Iterable[int]) -> int:
    """Deletes the files of these messages; how many there were. Nothing where SMS_URL names no folder."""
    scheme, _, rest = url.partition(":")
    if scheme != "file":
        return 0
    found = [file for one in messages if (file := Path(rest.removeprefix("//")) / f"{one:012d}.json").exists()]
    for file in found:
        file.unlink(missing_ok=True)
    return len(found)
