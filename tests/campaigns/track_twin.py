"""The Python twin of a cast: which item does one member get now? Slow and plain; where the SQL differs, this is right.

It knows rules of two shapes: `{field: country, op: eq, value: X}` and `{did: kind}`.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

UNDER_WAY = ("pending", "ready", "sending", "sent", "uncertain")
COMES_AGAIN = ("capped", "expired", "paused")


@dataclass
class Letter:
    """What a person got, or was meant to get: of which template, by which item ("" if from elsewhere), how it ended."""

    template: str
    item: str = ""
    state: str = "pending"
    reason: str = ""


@dataclass
class Member:
    """One member of a track, with all that a cast may ask about her."""

    country: str
    stream: str
    did: set[str] = field(default_factory=set)
    letters: list[Letter] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    led_on: set[str] = field(default_factory=set)
    is_out: bool = False


def means(rule: dict[str, Any], member: Member) -> bool:
    return rule["value"] == member.country if "field" in rule else rule["did"] in member.did


def is_offered(item: dict[str, Any], member: Member, local: datetime) -> bool:
    """Is this item for her, valid, new to her from whatever source, and not needed no more?"""
    for letter in member.letters:
        is_own = letter.item == item["key"]
        if letter.template == item["send"] and (
            letter.state in UNDER_WAY
            or (is_own and letter.state == "failed")
            or (is_own and letter.state == "skipped" and letter.reason not in COMES_AGAIN)
        ):
            return False
    return (
        item.get("active", True)
        and ("valid_from" not in item or local >= datetime.fromisoformat(item["valid_from"]))
        and ("valid_to" not in item or local < datetime.fromisoformat(item["valid_to"]))
        and ("when" not in item or means(item["when"], member))
        and ("consumed_when" not in item or not means(item["consumed_when"], member))
    )


def stream_for(streams: list[dict[str, Any]], member: Member) -> str:
    """The last stream whose rule means her; back only if her own stream's rule means her no more."""
    keys = [stream["key"] for stream in streams]
    place = keys.index(member.stream)
    own = streams[place].get("enter")
    may_go_back = own is not None and not means(own, member)
    for number in range(len(streams) - 1, -1, -1):
        one = streams[number]
        if number == place or (number < place and not may_go_back):
            continue
        if one.get("enter") and means(one["enter"], member) and one["key"] not in member.led_on:
            return one["key"]
    return member.stream


def cast(streams: list[dict[str, Any]], member: Member, local: datetime) -> None:
    """One cast of one member; all streams have the same cadence."""
    if member.is_out:
        return
    by_key = {stream["key"]: stream for stream in streams}
    while True:
        # A rule is asked in each stream that she comes to: whom nothing was left for may be meant by another one.
        target = stream_for(streams, member)
        if target != member.stream:
            member.path.append(target)
            member.stream = target
        stream = by_key[member.stream]
        for item in stream["items"]:
            if is_offered(item, member, local):
                member.path.append(f"item:{item['key']}")
                old = [one for one in member.letters if one.item == item["key"]]
                for letter in old:
                    letter.state, letter.reason = "pending", ""
                if not old:
                    member.letters.append(Letter(item["send"], item["key"]))
                return
        way = stream.get("exhausted", {})
        if "stream" in way:
            member.path.append(f"exhausted:{way['stream']}")
            member.led_on.add(member.stream)
            member.stream = way["stream"]
            continue
        if "exit" in way:
            member.path.append("exhausted")
            member.is_out = True
        elif member.path[-1:] != ["exhausted"]:
            member.path.append("exhausted")
        return
