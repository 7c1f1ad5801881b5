"""A rule drawn for people: rows that read as sentences, groups with a frame, and one row opened to be filled in."""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from contacts import rulewords, written
from contacts.did import Did
from contacts.leaves import FieldIs, Stage
from contacts.models import Contact
from contacts.ruleeditor import Editor, kinds_of_late, op_of, was_seen, what_of
from contacts.rulefields import Vocabulary
from contacts.rules import Answer, Rule, RuleError, explain, leaves_of, parse, verdict
from contacts.ruletree import DEEPEST_DRAWN, Address, is_locked, mode_of, parts_of, path_of, rooted, unwrap, walk
from contacts.rulevalues import Condition
from contacts.stages import STAGES
from contacts.timeline import TITLES

_COMPLEMENT = {"eq": "ne", "ne": "eq", "in": "not_in", "not_in": "in", "is_set": "is_empty", "is_empty": "is_set"}
_COUNT_COMPLEMENT = {"gte": "lt", "lt": "gte", "gt": "lte", "lte": "gt", "eq": "ne", "ne": "eq"}
# Names stand in quotes, of one kind or another, in each language.
_QUOTED = re.compile(r"[“„][^”“„]*[”“]")


@dataclass
class Part:
    """A row or a group as the template shows it."""

    id: str
    at: Address
    depth: int
    is_group: bool = False
    is_not: bool = False
    # Rows
    sentence: SafeString | str = ""
    state: str = ""  # '', is-warn where something waits to be filled in, is-bad where it cannot be asked
    problem: str = ""
    # What makes one doubt a condition that can be asked.
    doubt: str = ""
    text: str = ""
    is_locked: bool = False
    lines: list[dict[str, Any]] | None = None
    # Groups
    mode: str = ""
    joins: str = ""
    parts: list["Part"] = field(default_factory=list)
    may_add_group: bool = True
    # One tried person
    is_true: bool | None = None
    value: str = ""


@dataclass
class Drawing:
    """A rule for the template: its outermost group, whether it can be asked, and what it says of a tried person."""

    root: Part
    is_ready: bool
    conditions: int
    person: Contact | None = None
    is_meant: bool | None = None
    unfinished: int = 0
    broken: int = 0


def draw(
    rule: Any, name: str, now: datetime, *, opened: Address | None = None, person: Contact | None = None
) -> Drawing:
    """Draws a rule (JSON, maybe unfinished) for the widget called `name`, with one row opened and a person tried."""
    pen = _Pen(rooted(rule), name, opened, person, now)
    root = pen.group(pen.rule, [])
    leaves = [part for part in _every(root) if not part.is_group]
    return Drawing(
        root,
        is_ready=pen.parsed is not None or not leaves,
        conditions=len(leaves),
        person=person,
        is_meant=verdict(pen.parsed, pen.answers) if person and pen.parsed is not None else None,
        unfinished=sum(part.state == "is-warn" for part in leaves),
        broken=sum(part.state == "is-bad" for part in leaves),
    )


def _every(part: Part) -> list[Part]:
    return [part, *(one for inner in part.parts for one in _every(inner))]


class _Pen:
    def __init__(self, rule: Any, name: str, opened: Address | None, person: Contact | None, now: datetime) -> None:
        self.rule, self.name, self.opened, self.person = rule, name, opened, person
        self.names = Vocabulary()
        self.parsed: Rule | None = None
        self.answers: list[Answer] = []
        try:
            self.parsed = parse(rule, self.names)
        except RuleError:
            pass
        if person and self.parsed is not None:
            self.answers = explain(self.parsed, person, now, self.names)
        self.by_path = {answer.path: answer for answer in self.answers}

    def group(self, part: Any, at: Address) -> Part:
        mode = mode_of(part)
        drawn = Part(self._id(at), at, len(at) + 1, is_group=True, mode=mode)
        drawn.joins = "and" if mode in ("all", "not_all") else "or"
        drawn.may_add_group = drawn.depth < DEEPEST_DRAWN
        drawn.parts = [
            self.group(one, [*at, place])
            if parts_of(one) is not None and not is_locked(one, drawn.depth + 1)
            else self.row(one, [*at, place])
            for place, one in enumerate(parts_of(part) or [])
        ]
        return drawn

    def row(self, part: Any, at: Address) -> Part:
        drawn = Part(self._id(at), at, len(at) + 1)
        nots, inner = unwrap(part)
        try:
            parse(part, self.names)
        except RuleError as error:
            drawn.state, drawn.problem = (
                ("is-warn", _unfinished(inner)) if is_unfinished(inner) else ("is-bad", error.message)
            )
        if is_locked(part, drawn.depth) or not isinstance(inner, dict) or parts_of(part) is not None:
            drawn.is_locked, drawn.text = True, written.write(part)
            count = sum(parts_of(one) is None for _at, one in walk(part))
            drawn.sentence = ngettext(
                "A group with %(count)d condition, changed as text",
                "A group with %(count)d conditions, changed as text",
                count,
            ) % {"count": count}
            return drawn
        drawn.is_not = nots == 1
        if drawn.state == "is-bad":
            drawn.text = written.write(inner).strip()
        if not drawn.state:
            leaf = parse(inner, self.names)
            drawn.sentence, drawn.is_not = sentence_of(leaf, drawn.is_not)
            drawn.doubt = doubt_about(leaf)
        else:
            drawn.sentence = self._begun(inner)
        if at == self.opened:
            drawn.lines = self._editor().lines(inner, nots == 1)
        answer = self.by_path.get(path_of(self.rule, at))
        if answer is not None:
            drawn.is_true = answer.is_true != (nots == 1)
            drawn.value = answer.because
        return drawn

    def _editor(self) -> Editor:
        return Editor(self.names)

    def _id(self, at: Address) -> str:
        return "-".join([self.name, "r", *map(str, at)])

    def _begun(self, leaf: dict[str, Any]) -> SafeString | str:
        """What can be said of a question that cannot be asked yet."""
        known = self.names.field(leaf["field"]) if isinstance(leaf.get("field"), str) else None
        if known is not None and (words := rulewords.WORDS[known.type].get(op_of(leaf))):
            return _filled(str(words.sentence), field=known.label or known.key, value="…", span="…")
        if leaf.get("field"):
            return format_html("<strong>{}</strong>", str(leaf["field"]))
        if isinstance(leaf.get("did"), str) and leaf["did"]:
            return format_html("<strong>{}</strong>", TITLES.get(leaf["did"], leaf["did"]))
        return _("New condition") if not leaf else _("A condition that is not finished")


def _filled(sentence: str, **said: Any) -> SafeString:
    """A sentence with its parts in bold."""
    bold = {name: format_html("<strong>{}</strong>", str(one)) for name, one in said.items()}
    return mark_safe(str(escape(sentence)) % bold)  # noqa: S308 - both the sentence and its parts are escaped


def sentence_of(rule: Rule, is_negated: bool) -> tuple[SafeString, bool]:
    """The sentence of one question, and whether a “not” still belongs before it."""
    leaf: Any = rule
    if is_negated and isinstance(leaf, Did):
        leaf, is_negated = replace(leaf, count_op=_COUNT_COMPLEMENT[leaf.count_op]), False
    if isinstance(leaf, FieldIs):
        condition, words = leaf.condition, rulewords.WORDS[leaf.condition.type]
        if is_negated and not leaf.lasting and _COMPLEMENT.get(condition.op) in words:
            condition, is_negated = replace(condition, op=_COMPLEMENT[condition.op]), False
        told = {
            "field": leaf.field.label or leaf.field.key,
            "value": rulewords.say_value(condition.value, condition.type, leaf.field.name_of),
            "span": rulewords.say_span(leaf.lasting) if leaf.lasting else "",
        }
        return _filled(str(words["has_been_for" if leaf.lasting else condition.op].sentence), **told), is_negated
    said = str(escape(leaf.says()))
    for word in _told_of(leaf):
        said = said.replace(escape(word), f"<strong>{escape(word)}</strong>", 1)
    return mark_safe(_QUOTED.sub(lambda name: f"<strong>{name[0]}</strong>", said)), is_negated  # noqa: S308 - escaped


def _told_of(leaf: Any) -> list[str]:
    """The words of a leaf's sentence that are its own, beside what stands in quotes."""
    if isinstance(leaf, Stage):
        return [str(dict(STAGES)[leaf.stage])]
    condition = getattr(leaf, "condition", None)
    return [rulewords.say_value(condition.value, condition.type)] if isinstance(condition, Condition) else []


def is_unfinished(leaf: Any) -> bool:
    """Whether something of a question still waits to be filled in, as opposed to being wrong."""
    if not isinstance(leaf, dict):
        return False
    if not leaf or any(one in ("", None, [], {}) for key, one in leaf.items() if key != "where"):
        return True
    if what_of(leaf) == "" and set(leaf) <= {"op", "value"}:
        return True
    if any(isinstance(one, str) and re.fullmatch(r"[-+]?[mhdw]?|-|[0-9]*-|-[0-9]*", one) for one in leaf.values()):
        return True
    count = leaf.get("count")
    if isinstance(count, dict) and count.get("value", "") in ("", None):
        return True
    filters = leaf.get("where")
    return isinstance(filters, list) and any(
        isinstance(one, dict) and any(value in ("", None, []) for value in one.values()) for one in filters
    )


# A page shows no more sentences on what is wrong.
_MOST_PROBLEMS = 5


def problems_of(rule: Any, names: Vocabulary) -> list[str]:
    """What keeps a rule from being asked, in sentences for people, who count conditions as they read them, from one."""
    said: list[str] = []
    conditions = [part for _at, part in walk(rooted(rule)) if parts_of(part) is None]
    for number, part in enumerate(conditions, 1):
        try:
            parse(part, names)
        except RuleError as error:
            if len(conditions) == 1:
                said.append(_("The condition is not finished.") if is_unfinished(unwrap(part)[1]) else error.message)
            elif is_unfinished(unwrap(part)[1]):
                said.append(_("Condition %(number)d is not finished.") % {"number": number})
            else:
                told = {"number": number, "problem": error.message}
                said.append(_("Condition %(number)d cannot be asked: %(problem)s") % told)
    if not said:
        try:
            parse(rule, names)
        except RuleError as error:
            said = [error.message] if conditions else [_("The rule asks nothing yet.")]
    return said[:_MOST_PROBLEMS]


def doubts_of(rule: Any, names: Vocabulary) -> list[str]:
    """What makes one doubt a rule that can be asked: each sentence once."""
    said = dict.fromkeys(doubt_about(leaf) for _path, leaf in leaves_of(parse(rule, names)))
    return [doubt for doubt in said if doubt]


def doubt_about(leaf: Any) -> str:
    """A sentence where an event is asked about that nobody ever saw: it is misspelt, or is still to come."""
    if not isinstance(leaf, Did) or was_seen(leaf.kind):
        return ""
    near = get_close_matches(leaf.kind, [one["kind"] for one in kinds_of_late()], 1)
    if near:
        return _("“%(kind)s” was never seen. Did you mean “%(near)s”?") % {"kind": leaf.kind, "near": near[0]}
    return _("“%(kind)s” was never seen. Is it spelt right?") % {"kind": leaf.kind}


def _unfinished(leaf: Any) -> str:
    return _("Choose what this condition asks.") if not leaf else _("Something is still to be filled in here.")


# In one line ---------------------------------------------------------------------------------------------------------


def why_not_asked(rule: Any, names: Vocabulary) -> SafeString | str:
    """A red mark with the reason, where a rule cannot be asked; nothing where it can."""
    try:
        parse(rule, names)
    except RuleError as error:
        return format_html(
            '<span class="chip is-bad is-dot">{}</span> <span class="quiet">{}</span>',
            _("Cannot be asked"),
            error.message,
        )
    return ""


# A list shows so many conditions of a rule.
_MOST_SAID = 6


def in_words(rule: Any, names: Vocabulary) -> SafeString:
    """A rule in one line, for lists; raises RuleError where it cannot be asked."""
    parse(rule, names)
    left = _MOST_SAID

    def said(part: Any, is_outermost: bool) -> SafeString | str:
        nonlocal left
        nots, inner = unwrap(part)
        parts = parts_of(part)
        if parts is None:
            left -= 1
            if left < 0:
                return "…"
            sentence, is_not = sentence_of(parse(inner, names), nots % 2 == 1)
            return format_html(_("not: {}"), sentence) if is_not else sentence
        word = _("and") if mode_of(part) in ("all", "not_all") else _("or")
        shown = [said(one, False) for one in parts if left > 0]
        if len(shown) < len(parts):
            shown.append("…")
        joined = format_html_join(format_html(" <em>{}</em> ", word), "{}", ((one,) for one in shown))
        if nots % 2:
            return format_html(_("not ({})"), joined)
        return joined if is_outermost or len(parts) == 1 else format_html("({})", joined)

    return format_html("{}", said(rooted(rule), True))
