"""Who needs a template, as apps above say, for a step without it would send nothing; and what our texts need."""

import re
from collections.abc import Callable, Iterable, Mapping

from django.utils.translation import gettext as _

from messaging import blocks
from messaging.models import ReusableBlock, SegmentZone, SignupForm, Template

_LIQUID = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_SHOW_IF = re.compile(r'"show_if": ?"([^"]*)"')
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")

_live: list[Callable[[], Iterable[tuple[str, str]]]] = []
_users: list[Callable[[str], Iterable[str]]] = []


def register_user_of_templates(names_of_users: Callable[[str], Iterable[str]]) -> None:
    """Adds a function from a template's key to the names of those who need it; call it from `AppConfig.ready`."""
    _users.append(names_of_users)


def users_of(template: Template) -> list[str]:
    """The names of all that need the template: journeys, …"""
    return [name for names_of_users in _users for name in names_of_users(template.key)]


def register_live_templates(named: Callable[[], Iterable[tuple[str, str]]]) -> None:
    """Adds a function that names the templates that may still be sent, each with who sends it: `("hello", "Welcome")`.

    Call it from `AppConfig.ready`.
    """
    if named not in _live:
        _live.append(named)


def live_templates() -> dict[str, list[str]]:
    """The keys of the templates that may still be sent, each with the names of all that send it."""
    found: dict[str, list[str]] = {}
    for named in _live:
        for key, user in named():
            if user not in found.setdefault(key, []):
                found[key].append(user)
    return found


def users_of_reusable(key: str) -> list[str]:
    """The templates in which a reusable block stands, in any language."""
    named = Template.objects.filter(body_format="blocks").order_by("key")
    return [
        _("template “%(name)s”") % {"name": one}
        for one in named
        if any(key in blocks.references(str(variant["body"])) for variant in one.variants.values())
    ]


def users_of_field(key: str) -> list[str]:
    """The templates that print a field of contacts or ask about it, and the sign-up forms that have it filled in."""
    name = re.compile(rf"(?:(?<![\w.-])|(?<=\bcontact\.)){re.escape(key)}(?![\w-])")
    templates = [one for one in Template.objects.order_by("key") if any(map(name.search, _code(one)))]
    reusable = [one for one in ReusableBlock.objects.order_by("key") if any(map(name.search, _code_of(one.bodies)))]
    forms = [one for one in SignupForm.objects.order_by("key") if key in one.fields]
    return [
        *(_("template “%(name)s”") % {"name": one} for one in templates),
        *(_("reusable block “%(name)s”") % {"name": one} for one in reusable),
        *(_("sign-up form “%(name)s”") % {"name": one} for one in forms),
    ]


def users_of_segment(key: str) -> list[str]:
    """The sending policy, where it says a time zone for the people of the segment."""
    is_used = SegmentZone.objects.filter(segment__key=key).exists()
    return [_("time zone of the segment in the sending policy")] if is_used else []


def _code(template: Template) -> list[str]:
    """What stands in Liquid's braces, and in conditions of blocks, in all languages of a template."""
    return [code for variant in template.variants.values() for code in _code_of(variant)]


def _code_of(variant: Mapping[str, str]) -> list[str]:
    """The same of texts by name, without what stands in quotes."""
    found = []
    for text in map(str, variant.values()):
        # In JSON the quotes inside of texts are escaped.
        plain = text.replace('\\"', "'")
        found += [_QUOTED.sub("", code) for code in _LIQUID.findall(plain)]
        found += [_QUOTED.sub("", code) for code in _SHOW_IF.findall(plain)]
    return found
