"""Who needs a template, as apps above say, for a step without it would send nothing; and what our texts need."""

import re
from collections.abc import Callable, Iterable

from django.utils.translation import gettext as _

from messaging.models import SignupForm, Template

_LIQUID = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
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


def users_of_field(key: str) -> list[str]:
    """The templates that print a field of contacts or ask about it, and the sign-up forms that have it filled in."""
    name = re.compile(rf"(?<![\w.-]){re.escape(key)}(?![\w-])")
    templates = [one for one in Template.objects.order_by("key") if any(map(name.search, _code(one)))]
    forms = [one for one in SignupForm.objects.order_by("key") if key in one.fields]
    return [
        *(_("template “%(name)s”") % {"name": one} for one in templates),
        *(_("sign-up form “%(name)s”") % {"name": one} for one in forms),
    ]


def _code(template: Template) -> list[str]:
    """What stands in Liquid's braces in all languages of a template, without the texts in quotes."""
    texts = [text for variant in template.variants.values() for text in variant.values()]
    return [_QUOTED.sub("", found) for text in texts for found in _LIQUID.findall(str(text))]
