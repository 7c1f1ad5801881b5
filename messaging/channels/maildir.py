"""Mail into files, one each, in the form of a Maildir: the default, so that nobody is written to by mistake."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from messaging.channels.contract import Outgoing, Result, Send
from messaging.failpoints import hit


def channel(path: str) -> Send:
    """Writes into `<path>/new`; a file appears there whole or not at all."""
    folder = Path(path)

    def send(messages: Iterable[Outgoing]) -> Iterator[Result]:
        try:
            for name in ("tmp", "new", "cur"):
                (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            for message in messages:
                yield Result(message.id, "unreachable", f"{folder}: {error.strerror}")
            return
        for message in messages:
            yield _write(folder, message)

    return send


def _write(folder: Path, message: Outgoing) -> Result:
    """A second attempt at the same message takes the place of the first: it is the same mail."""
    name = f"{message.id:012d}.eml"
    draft = folder / "tmp" / f"{name}.{os.getpid()}"
    is_handed_over = False
    try:
        hit("before_data")
        draft.write_bytes(message.raw)
        draft.rename(folder / "new" / name)
        is_handed_over = True
        hit("after_data")
    except Exception as error:
        draft.unlink(missing_ok=True)
        return Result(message.id, "uncertain" if is_handed_over else "later", f"{type(error).__name__}: {error}")
    return Result(message.id, "sent", f"written to {name}")


def forget(path: str, messages: Iterable[int]) -> int:
    """Deletes the files of these messages, wherever a mail program put them; how many there were."""
    names = {f"{message:012d}.eml" for message in messages}
    found = [
        file for name in ("new", "cur") for file in Path(path).glob(f"{name}/*") if file.name.split(":")[0] in names
    ]
    for file in found:
        file.unlink(missing_ok=True)
    return len(found)
