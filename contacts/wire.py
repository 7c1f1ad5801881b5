"""JSON as it comes in and goes out over the wire. DRF reads this module before its own views, so it imports little."""

import json
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from django.utils.translation import gettext as _
from rest_framework.exceptions import APIException, ParseError, ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer

DEEPEST = 200
# What is read into memory at once; longer lists come as NDJSON, which is read line by line.
LARGEST_BODY = 32 * 1024 * 1024
LONGEST_LINE = 1024 * 1024
_CHUNK = 256 * 1024
NDJSON = "application/x-ndjson"
_ALL_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"000000000")
_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


@dataclass(frozen=True, slots=True)
class Unread:
    """What stands in a list for a row that cannot be taken as it was written: where, and why."""

    field: str
    message: str


class _Large(int):
    """A whole number of more than 64 bits; orjson would round it to a float without a word."""


class OrjsonRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data, accepted_media_type=None, renderer_context=None):
        return b"" if data is None else dumps(data)


class NdjsonRenderer(BaseRenderer):
    media_type = NDJSON
    format = "ndjson"
    charset = None

    def render(self, data, accepted_media_type=None, renderer_context=None):
        return b"".join(map(line, data)) if isinstance(data, list) else line(data)


def line(data: Any) -> bytes:
    """One value as a line of NDJSON."""
    return dumps(data) + b"\n"


class OrjsonParser(BaseParser):
    media_type = "application/json"

    def parse(self, stream, media_type=None, parser_context=None):
        return loads(read(stream))


class NdjsonParser(BaseParser):
    """One row a line, read while it comes in: `request.data` is an iterator of rows."""

    media_type = NDJSON

    def parse(self, stream, media_type=None, parser_context=None):
        return map(read_line, lines(stream))


class TooLarge(APIException):
    status_code = 413
    default_code = "too_large"


def read(stream: Any) -> bytes:
    """A body that is read at once. Raises TooLarge."""
    body = stream.read(LARGEST_BODY + 1)
    if len(body) > LARGEST_BODY:
        raise TooLarge(_("A body may have at most 32 MB; send longer lists line by line, as application/x-ndjson."))
    return body


def dumps(data: Any) -> bytes:
    """JSON as we answer it: moments in UTC with a Z, decimals as text, what is no number as null."""
    try:
        return orjson.dumps(data, default=str, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        # Integers of more than 64 bits and JSON deeper than 254 may be stored; only the slower one writes them.
        return json.dumps(data, default=_text, separators=(",", ":")).encode()


def _text(value: Any) -> str:
    is_moment = isinstance(value, datetime) and value.tzinfo
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if is_moment else str(value)


def loads(body: bytes) -> Any:
    """The JSON of a request. Raises ParseError, also for a NUL character, which PostgreSQL cannot store."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ParseError(_("The body is not valid JSON: %(reason)s.") % {"reason": error}) from None
    if b"\\u0000" in body and has_nul(data):
        raise ParseError(_("The body holds a NUL character, which cannot be stored."))
    if is_too_deep(data, body):
        raise ParseError(_("The body is nested deeper than %(deepest)d levels.") % {"deepest": DEEPEST})
    return _with_whole_numbers(data, body)


def lines(stream: Any) -> Iterator[bytes]:
    """The lines of a body that are not empty, in little memory; of one that is too long only as much as tells it."""
    rest, is_begun = b"", False
    while chunk := stream.read(_CHUNK):
        rest += chunk
        if not is_begun and len(rest) >= len(BOM_UTF8):
            # Programs for Windows put it before the first line.
            rest, is_begun = rest.removeprefix(BOM_UTF8), True
        *whole, rest = rest.split(b"\n")
        yield from filter(bytes.strip, whole)
        if len(rest) > LONGEST_LINE:
            rest = rest[: LONGEST_LINE + 1]
    if rest.strip():
        yield rest


def read_line(line: bytes) -> Any:
    """One row of NDJSON; an Unread where it cannot be taken."""
    if len(line) > LONGEST_LINE:
        return Unread("", _("A line may have at most 1 MB."))
    try:
        [row] = loads(b"[" + line + b"]")
    except ParseError as error:
        return Unread("", str(error.detail))
    except ValueError:
        return Unread("", _("A line must be one JSON value."))
    return row


def _with_whole_numbers(data: Any, body: bytes) -> Any:
    """Refuses whole numbers of more than 64 bits: all of the body, or in a list the row that they stand in."""
    digits = body.translate(_ALL_DIGITS_ALIKE)
    if b"0" * 20 not in digits and b"-" + b"0" * 19 not in digits:
        return data
    told = json.loads(body, parse_int=_whole)
    message = _("This number has more than 64 bits. Send it as a text.")
    if isinstance(told, list):
        paths = [_path_of_large(row) for row in told]
        return [row if path is None else Unread(path, message) for row, path in zip(data, paths, strict=True)]
    if (path := _path_of_large(told)) is not None:
        raise ValidationError({path or "non_field_errors": message})
    return data


def _whole(text: str) -> int:
    # A number of thousands of digits is not even worked out.
    return int(text) if len(text) < 20 or -(2**63) <= int(text[:30]) < 2**64 else _Large()


def _path_of_large(data: Any) -> str | None:
    """Where in decoded JSON a large number stands, with dots; None where none does."""
    waiting = [("", data)]
    while waiting:
        path, one = waiting.pop()
        if isinstance(one, _Large):
            return path
        if isinstance(one, dict):
            waiting += [(f"{path}.{key}" if path else key, part) for key, part in one.items()]
        elif isinstance(one, list):
            waiting += [(f"{path}[{index}]", part) for index, part in enumerate(one)]
    return None


def is_too_deep(data: Any, written: bytes) -> bool:
    """Whether decoded JSON, of which `written` is the text, has more than `DEEPEST` levels: too many to write again."""
    brackets = written.translate(None, _BUT_BRACKETS)
    # A level less with each turn; what stands in texts stays, and is asked about below.
    for _turn in range(8):
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    if len(brackets) <= DEEPEST:
        return False
    level = [data]
    for _depth in range(DEEPEST):
        level = [
            part
            for one in level
            if isinstance(one, dict | list)
            for part in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return any(isinstance(one, dict | list) for one in level)


def has_nul(data: Any) -> bool:
    """Whether any text in decoded JSON holds a NUL character."""
    if isinstance(data, str):
        return "\0" in data
    if isinstance(data, dict):
        return any(has_nul(key) or has_nul(value) for key, value in data.items())
    return isinstance(data, list) and any(map(has_nul, data))
