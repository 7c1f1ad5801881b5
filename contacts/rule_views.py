"""What the builder of rules asks the server: draw a rule and change it, look whom it means, find a person to try.

They take POST only; what they cannot do they answer with 422, a path and a sentence.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from contacts import written
from contacts.models import Contact
from contacts.outlook import outlook
from contacts.rule_widget import WITHOUT_CONDITIONS, read_rule
from contacts.ruleeditor import Editor
from contacts.rulefields import Vocabulary
from contacts.rulerows import doubts_of, draw, problems_of, sentence_of
from contacts.rules import RuleError, leaves_of, parse
from contacts.ruletree import Address, at, change, rooted, unwrap
from contacts.searching import by_name

_FOUND = 8
_LONGEST_VALUE = 10_000
_NAME = re.compile(r"[\w-]{1,80}")


def may_ask(user: Any) -> bool:
    """Whether somebody may look at rules and whom they mean."""
    return any(user.has_perm(f"contacts.{verb}_segment") for verb in ("view", "add", "change"))


def _wrong(error: RuleError) -> JsonResponse:
    return JsonResponse({"path": error.path, "message": error.message}, status=422)


def _rule(request: HttpRequest) -> Any:
    try:
        return read_rule(request.POST.get("rule", ""))
    except written.Unreadable as error:
        where = _("line %(line)d") % {"line": error.line} if error.line else ""
        raise RuleError(
            "rule", f"{str(error)[:1].upper()}{str(error)[1:]}" + (f" ({where})" if where else "")
        ) from None


def _json(request: HttpRequest, name: str) -> Any:
    try:
        return json.loads(request.POST.get(name) or "null")
    except (ValueError, RecursionError):
        raise RuleError(name, _("This is no JSON.")) from None


def _address(value: Any) -> Address | None:
    is_one = isinstance(value, list) and all(type(place) is int for place in value)
    return value if is_one else None


@require_POST
def draw_view(request: HttpRequest) -> HttpResponse:
    """The rule as rows, after an operation on it if one is given, with a tried person's answers."""
    if not may_ask(request.user):
        raise PermissionDenied
    try:
        rule, op, opened = _rule(request), _json(request, "op"), _address(_json(request, "open"))
        message, focus = "", None
        if op is not None:
            if isinstance(op, dict) and op.get("op") == "set":
                op = _filled_in(rule, op)
            changed = change(rule, op)
            if changed.is_open or opened == op.get("at"):
                opened = changed.focus
            else:
                opened = None
            rule, message, focus = changed.rule, changed.message, changed.focus
        name = request.POST.get("name", "")
        if not _NAME.fullmatch(name):
            raise RuleError("name", _("A builder needs a name."))
        without = WITHOUT_CONDITIONS.get(request.POST.get("of", ""), WITHOUT_CONDITIONS[""])
        drawing = draw(rule, name, timezone.now(), opened=opened, person=_person(request))
        text = written.write(rule)
    except RuleError as error:
        return _wrong(error)
    return JsonResponse(
        {
            "text": text,
            "html": render_to_string("contacts/rule_tree.html", {"drawing": drawing, "without": without}),
            "person": render_to_string("contacts/rule_person.html", {"drawing": drawing}),
            "message": message,
            "focus": focus,
            "open": opened,
            "is_ready": drawing.is_ready,
        }
    )


def _filled_in(rule: Any, op: dict[str, Any]) -> dict[str, Any]:
    """An operation `set` whose question is read from the controls of its row."""
    form = op.get("form")
    if not isinstance(form, dict) or not all(
        isinstance(values, list) and all(isinstance(one, str) and len(one) <= _LONGEST_VALUE for one in values)
        for values in form.values()
    ):
        raise RuleError("form", _("The controls are a mapping of names to lists of texts."))
    address = _address(op.get("at"))
    if not address:
        raise RuleError("at", _("An address is a list of whole numbers."))
    nots, leaf = unwrap(at(rooted(rule), address))
    if not isinstance(leaf, dict):
        raise RuleError("at", _("This is changed as text."))
    new, is_negated = Editor(Vocabulary()).read(form, leaf, nots == 1)
    if message := written.unkeepable(new):
        raise RuleError("form", message)
    return op | {"leaf": new, "is_negated": is_negated}


def _person(request: HttpRequest) -> Contact | None:
    wanted = request.POST.get("person", "")
    if not wanted.isdecimal() or len(wanted) > 18:
        return None
    return Contact.objects.living().visible_to(request.user).filter(pk=int(wanted)).first()


@dataclass(frozen=True)
class Effect:
    """How many people a condition takes out (more than 0) or lets in (less)."""

    sentence: str
    removed: int
    is_estimate: bool

    @property
    def added(self) -> int:
        return -self.removed


@require_POST
def look_view(request: HttpRequest) -> HttpResponse:
    """How many people a rule means, a few of them, and what each condition takes out."""
    if not may_ask(request.user):
        raise PermissionDenied
    try:
        rule = _rule(request)
    except RuleError as error:
        return _wrong(error)
    seen = outlook(rule, request.user, timezone.now())
    doubts: list[str] = []
    if rule is not None:
        names = Vocabulary()
        if problems := problems_of(rule, names):
            seen["problem"] = " ".join(problems)
        else:
            doubts = doubts_of(rule, names)
    return render(
        request,
        "contacts/segment_preview.html",
        {"seen": seen, "rule": rule, "effects": _effects(rule, seen), "doubts": doubts},
    )


def _effects(rule: Any, seen: dict[str, Any]) -> list[Effect]:
    if seen["count"] is None or not seen["effects"]:
        return []
    parsed = parse(rule)
    leaves = dict(leaves_of(parsed))
    effects = []
    for one in seen["effects"]:
        sentence, is_not = sentence_of(leaves[one["path"]], one["path"].endswith("not"))
        is_estimate = one["is_estimate"] or seen["is_estimate"]
        effects.append(
            Effect(
                format_html(_("not: {}"), sentence) if is_not else sentence, one["without"] - seen["count"], is_estimate
            )
        )
    return effects


@require_POST
def people_view(request: HttpRequest) -> HttpResponse:
    """A few people by parts of their names, to try a rule on."""
    if not may_ask(request.user):
        raise PermissionDenied
    people = Contact.objects.living().visible_to(request.user)
    words = request.POST.get("q", "").strip()
    found = by_name(people, words).order_by("-pk")[:_FOUND] if words else []
    return JsonResponse({"people": [{"id": one.pk, "name": str(one.name), "email": one.email} for one in found]})
