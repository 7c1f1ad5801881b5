"""What channels over HTTP share: many calls at once over kept sessions, and what an answer or an error says."""

import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from messaging.channels.contract import Outgoing, Result

Session = TypeVar("Session")
# Before these, nothing was said: the other side was not there, or was not who it should be.
_NOBODY = (
    NewConnectionError, ConnectTimeoutError, ssl.SSLCertVerificationError, requests.ConnectTimeout,
    requests.exceptions.ProxyError, requests.exceptions.InvalidURL,
)  # fmt: skip


def spread(
    messages: Iterable[Outgoing],
    connections: int,
    idle: "deque[Session]",
    connect: Callable[[], Session],
    hand_over: Callable[[Session, Outgoing], Result],
) -> Iterator[Result]:
    """Hands messages over, so many at once, each by a session of its own; one that is done goes back to `idle`.

    Where one result says that nobody is there, the messages behind it are not tried in vain.
    """
    is_down = threading.Event()

    def one(message: Outgoing) -> Result:
        if is_down.is_set():
            return Result(message.id, "unreachable", "not tried: nobody answered the message before")
        try:
            session = idle.pop()
        except IndexError:
            session = connect()
        result = hand_over(session, message)
        idle.append(session)
        if result.outcome == "unreachable":
            is_down.set()
        return result

    waiting = list(messages)
    if not waiting:
        return
    with ThreadPoolExecutor(min(connections, len(waiting)), thread_name_prefix="channel") as pool:
        calls = {pool.submit(one, message): message for message in waiting}
        for call in as_completed(calls):
            if error := call.exception():
                yield Result(calls[call].id, "uncertain", f"{type(error).__name__}: {error}"[:500])
            else:
                yield call.result()


def outcome_of(error: BaseException) -> str:
    """Of an error on the way: `unreachable` where surely nothing was handed over, else `uncertain`."""
    seen: set[int] = set()
    open_: list[object] = [error]
    while open_:
        one = open_.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        if isinstance(one, _NOBODY):
            return "unreachable"
        seen.add(id(one))
        open_ += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return "uncertain"


def judged(status: int) -> str:
    """What an HTTP status says of a message. That we are not let in, or are sent elsewhere, is no fault of its own."""
    if 200 <= status < 300:
        return "sent"
    if status in (401, 402, 403, 407) or 300 <= status < 400:
        return "unreachable"
    return "later" if status in (408, 425, 429) or status >= 500 else "failed"
