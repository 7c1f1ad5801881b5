"""SMS into files, one each: the default, so that nobody is written to by mistake."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from messaging.channels.contract import Outgoing, Result, Send
from messaging.failpoints import hit


def _bad(reason: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"SMS_URL: {reason}")


def choose(url: str) -> Send:
    """The channel that SMS_URL names: `file:<folder>`. Raises ImproperlyConfigured saying what is wrong with it."""
    scheme, _, rest = url.partition(":")
    if scheme != "file":
        raise _bad(f"it must begin with file:, not {scheme or url!r}.")
    if not rest.removeprefix("//"):
        raise _bad("file: needs a folder, such as file:/var/sms.")
    return _files(rest.removeprefix("//"))


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
