"""The editor of one question of a rule: its controls, and the question that they mean when they come back.

Everything that can be asked comes from `contacts.rulefields`; nothing here knows a field by name.
"""

from datetime import timedelta
from hashlib import sha256
from typing import Any

from django.core.cache import cache
from django.utils.functional import cached_property
from django.utils.translation import get_language, pgettext
from django.utils.translation import gettext as _

from contacts import rulecontrols as controls
from contacts import rulewords
from contacts.models import Touchpoint
from contacts.rulecontrols import Choices, Control, Form, said
from contacts.rulefields import Vocabulary, kinds_seen, leaf_kinds, registered
from contacts.rulevalues import OPERATORS
from contacts.sql import in_time

_FLIPPED = {"gte": "lt", "lt": "gte", "gt": "lte", "lte": "gt", "eq": "ne", "ne": "eq"}
_NO_SPAN = {"nothing", "value", "list"}


# What touchpoints there are changes slowly, and reading it takes longer than the rest of a page.
_KINDS_FOR = 60


# Nobody waits longer to hear that a rare kind of event is spelt right.
_LOOKS_FOR = timedelta(milliseconds=300)


def kinds_of_late() -> list[dict[str, Any]]:
    """The kinds of touchpoints that we know of, and those seen of late; as `kinds_seen`, a minute old at most."""
    return cache.get_or_set(f"rule-kinds-{get_language()}", kinds_seen, _KINDS_FOR) or []


def was_seen(kind: str) -> bool:
    """Whether there is any touchpoint of a kind, or may be: true where finding it out would take too long."""
    if any(one["kind"] == kind for one in kinds_of_late()):
        return True
    key = f"rule-kind-{sha256(kind.encode()).hexdigest()}"
    if (seen := cache.get(key)) is None:
        seen = True
        with in_time(_LOOKS_FOR):
            seen = Touchpoint.objects.filter(kind=kind).exists()
        cache.set(key, seen, _KINDS_FOR)
    return bool(seen)


class Editor:
    """Makes and reads the controls of questions."""

    def __init__(self, names: Vocabulary) -> None:
        self.names = names
        self.fields = {**names.handles(), **names.custom_fields(), **registered()}

    @cached_property
    def leaves(self) -> dict[str, dict[str, Any]]:
        """Each kind of question but fields and events, as the catalogue tells of it."""
        return {kind: leaf.describe(self.names) for kind, leaf in leaf_kinds().items() if kind not in ("field", "did")}

    @cached_property
    def kinds(self) -> dict[str, dict[str, Any]]:
        """The kinds of touchpoints seen of late."""
        return {one["kind"]: one for one in kinds_of_late()}

    @cached_property
    def properties(self) -> dict[str, list[dict[str, Any]]]:
        """The operators of properties by type."""
        return property_operators()

    def about(self, key: Any) -> dict[str, Any] | None:
        """A field with its choices and operators."""
        field = self.fields.get(key) if isinstance(key, str) else None
        return field.catalogue() if field else None

    # What is asked

    def lines(self, leaf: dict[str, Any], is_negated: bool) -> list[dict[str, Any]]:
        """The controls in lines; the first asks what the question is about."""
        what = what_of(leaf)
        kind, _colon, name = what.partition(":")
        first: list[Control] = [self._what(what)]
        lines: list[dict[str, Any]] = [{"controls": first}]
        if kind == "field":
            first += self._field(leaf, self.about(name))
        elif kind == "did":
            if name not in self.kinds:
                first.append(controls.entry("kind", _("Name of the event"), name, placeholder="order.placed"))
            lines += self._did(leaf, is_negated)
        elif kind == "leaf":
            first += self._leaf(name, leaf)
        return lines

    def read(self, form: Form, leaf: dict[str, Any], is_negated: bool) -> tuple[dict[str, Any], bool]:
        """The question that the controls say, which were made from `leaf`, and whether it is negated."""
        what = said(form, "what")
        if what != what_of(leaf):
            return self.new(what, leaf), is_negated and what.startswith("did:") and "did" in leaf
        kind, _colon, name = what.partition(":")
        if kind == "field":
            return self._read_field(form, leaf), is_negated
        if kind == "did":
            return self._read_did(form, leaf)
        if kind == "leaf":
            return self._read_leaf(form, leaf, name), is_negated
        return leaf, is_negated

    def new(self, what: str, leaf: dict[str, Any]) -> dict[str, Any]:
        """The question that somebody begins with who chose what it is about."""
        kind, _colon, name = what.partition(":")
        if kind == "did":
            # How often and when can be asked of every event; properties are its own.
            return {"did": name} | {key: leaf[key] for key in ("count", "within", "before", "after") if key in leaf}
        if kind == "leaf" and name in self.leaves:
            return self._new_leaf(name)
        field = self.about(name) if kind == "field" else None
        if field is None:
            return {}
        ops = {one["op"]: one["takes"] for one in field["operators"]}
        wanted = {"number": "gte", "boolean": "eq", "date": "within_last", "datetime": "within_last"}
        op = "in" if field["choices"] and "in" in ops else wanted.get(field["type"], "eq")
        if op not in ops:
            op = next(iter(ops))
        value = controls.converted(None, field["type"], "nothing", ops[op])
        return {"field": name, "op": op, "value": value}

    def _what(self, what: str) -> Control:
        groups: dict[str, Choices] = {}
        for field in self.fields.values():
            groups.setdefault(str(field.group), []).append((f"field:{field.key}", str(field.label or field.key)))
        done = [(f"did:{kind}", str(one["label"])) for kind, one in self.kinds.items()]
        kind, _colon, name = what.partition(":")
        if kind == "did" and name and name not in self.kinds:
            done.append((what, name))
        done.append(("did:", _("Another event…")))
        others = [
            (f"leaf:{kind}", str(one["label"])) for kind, one in self.leaves.items() if kind not in ("field", "did")
        ]
        every = [(_("What the person did"), done), *groups.items(), (_("Groups, consent, scores"), others)]
        if kind == "field" and name not in self.fields:
            every.insert(0, (_("Not in this list"), [(what, name)]))
        return controls.select("what", _("What is asked"), [], what, every) | {"is_wide": True}

    # Fields

    def _field(self, leaf: dict[str, Any], field: dict[str, Any] | None) -> list[Control]:
        if field is None:
            return []
        takes = _takes(field["operators"], op_of(leaf))
        made = [controls.select("op", _("How it is compared"), _options(field["operators"]), op_of(leaf))]
        made += controls.value_controls(
            "value", field["type"], "value" if takes == "value_and_span" else takes, leaf.get("value"), _choices(field)
        )
        if takes == "value_and_span":
            made += controls.span_controls("for", _("For at least"), leaf.get("for"))
        return made

    def _read_field(self, form: Form, leaf: dict[str, Any]) -> dict[str, Any]:
        field = self.about(leaf.get("field"))
        if field is None:
            return leaf
        was, op = op_of(leaf), said(form, "op")
        had, takes = _takes(field["operators"], was), _takes(field["operators"], op)
        value = controls.read_value(
            form, "value", field["type"], "value" if had == "value_and_span" else had, leaf.get("value")
        )
        new: dict[str, Any] = {"field": leaf["field"], "op": op}
        if takes != "nothing":
            new["value"] = controls.converted(
                value, field["type"], had, "value" if takes == "value_and_span" and had == "value" else takes
            )
        if takes == "value_and_span":
            new["for"] = controls.read_span(form, "for") if had == takes else "30d"
        return new

    # Events

    def _did(self, leaf: dict[str, Any], is_negated: bool) -> list[dict[str, Any]]:
        count: Any = leaf.get("count")
        count = count if isinstance(count, dict) else {}
        op, number = count.get("op", "gte"), count.get("value", 1 if "value" not in count else None)
        if is_negated:
            op = _FLIPPED.get(op, op)
        how = op if "count" in leaf else "never" if is_negated else "ever"
        often = [controls.select("how", _("How often"), [("ever", _("ever")), ("never", _("never")), *counts()], how)]
        if how not in ("ever", "never"):
            often.append(controls.entry("times", _("Times"), number, "number", min=0, step=1, is_short=True))
        time = time_of(leaf)
        often.append(controls.select("time", _("When"), _times(time), time))
        if "within" in leaf:
            often += controls.span_controls("within", _("How long"), leaf["within"])
        lines: list[dict[str, Any]] = [{"controls": often}]
        for edge, legend in (("after", _("After")), ("before", _("Before"))):
            if edge in leaf:
                lines.append({"legend": legend, "controls": controls.moment_controls(edge, "datetime", leaf[edge])})
        known = self._known_properties(leaf)
        for place, one in enumerate(_filters(leaf)):
            lines.append(
                {
                    "legend": pgettext("event filter", "Where"),
                    "controls": self._where(f"w{place}", one, known),
                    "remove": f"w{place}",
                }
            )
        last = [
            controls.tick("include_machines", _("Count what machines did, too"), leaf.get("include_machines") is True)
        ]
        return [*lines, {"controls": last, "can_filter": True}]

    def _known_properties(self, leaf: dict[str, Any]) -> dict[str, list[str]]:
        seen = self.kinds.get(str(leaf.get("did")), {"properties": []})["properties"]
        return {one["name"]: list(one["types"]) for one in seen}

    def _where(self, name: str, one: dict[str, Any], known: dict[str, list[str]]) -> list[Control]:
        type_, op = _type_of(one, known), op_of(one)
        operators = self.properties[type_]
        types = {"text": _("text"), "number": _("number"), "boolean": _("yes or no"), "datetime": _("date and time")}
        return [
            controls.entry(f"{name}.field", _("Property"), one.get("field"), offers=list(known)),
            controls.select(f"{name}.type", _("Kind of value"), list(types.items()), type_),
            controls.select(f"{name}.op", _("How it is compared"), _options(operators), op),
            *controls.value_controls(name, type_, _takes(operators, op), one.get("value"), []),
        ]

    def _read_did(self, form: Form, leaf: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        new: dict[str, Any] = {"did": said(form, "kind", str(leaf.get("did", ""))).strip()}
        known = self._known_properties(leaf)
        filters = [
            self._read_where(form, f"w{place}", one, known)
            for place, one in enumerate(_filters(leaf))
            if said(form, "drop") != f"w{place}"
        ]
        if said(form, "more") == "where":
            first = next(iter(known), "")
            filters.append({"field": first, "op": "eq", "value": _first_of(known.get(first, []))})
        if filters:
            new["where"] = filters
        how = said(form, "how", "ever")
        if how not in ("ever", "never"):
            times = controls.read_one(said(form, "times", "2" if how in ("gte", "lt") else "1"), "number")
            new["count"] = {"op": how, "value": times}
        times = said(form, "time").split("+")
        if "within" in times:
            new["within"] = controls.read_span(form, "within") if _has(form, "within") else "30d"
        for edge in ("after", "before"):
            if edge in times:
                new[edge] = controls.read_moment(form, edge) if f"{edge}.when" in form else "-30d"
        if said(form, "include_machines"):
            new["include_machines"] = True
        return new, how == "never"

    def _read_where(self, form: Form, name: str, one: dict[str, Any], known: dict[str, list[str]]) -> dict[str, Any]:
        was_type, was = _type_of(one, known), op_of(one)
        field = said(form, f"{name}.field")
        type_, op = said(form, f"{name}.type", was_type), said(form, f"{name}.op", was)
        if field != one.get("field") and type_ == was_type and known.get(field):
            type_ = next((seen for seen in known[field] if seen in self.properties), "text")
        if type_ not in self.properties:
            type_ = "text"
        if type_ != was_type:
            op = "within_last" if type_ == "datetime" else "eq"
            return {"field": field, "op": op, "value": "30d" if type_ == "datetime" else _first_of([type_])}
        had, takes = _takes(self.properties[type_], was), _takes(self.properties[type_], op)
        value = controls.read_value(form, name, type_, had, one.get("value"))
        new = {"field": field, "op": op}
        return new if takes == "nothing" else new | {"value": controls.converted(value, type_, had, takes)}

    # Everything else: a choice, maybe compared with a number, maybe for a span of time

    def _leaf(self, kind: str, leaf: dict[str, Any]) -> list[Control]:
        if kind == "bucket":
            first, last = _share(leaf)
            return [
                controls.entry("first", _("Places from"), first, "number", min=0, max=99, step=1, is_short=True),
                controls.entry("last", _("to"), last, "number", min=0, max=99, step=1, is_short=True),
                controls.entry("salt", _("Name of the draw"), leaf.get("salt")),
            ]
        about = self.leaves.get(kind, {})
        made = [controls.select("choice", str(about.get("label", kind)), _choices(about), leaf.get(kind))]
        for one in about.get("beside", []):
            chosen = leaf.get(one["key"], one["default"])
            made.append(controls.select(one["key"], one["label"], _choices(one), chosen))
        if about.get("operators"):
            made.append(
                controls.select("op", _("How it is compared"), _options(about["operators"]), _leaf_op(about, leaf))
            )
            takes = _takes(about["operators"], _leaf_op(about, leaf), "nothing")
            offered = [(value, value) for value in about.get("values", {}).get(leaf.get(kind), [])]
            made += controls.value_controls("value", about.get("type", "number"), takes, leaf.get("value"), offered)
        if _may_last(kind) and leaf.get("op", "eq") == "eq":
            made += controls.span_controls("for", _("For at least"), leaf.get("for"), is_optional=True)
        return made

    def _read_leaf(self, form: Form, leaf: dict[str, Any], kind: str) -> dict[str, Any]:
        if kind == "bucket":
            return {"bucket": f"{said(form, 'first')}-{said(form, 'last')}", "salt": said(form, "salt")}
        about = self.leaves.get(kind, {})
        # What the kind knows beside and is not shown here is kept.
        new = {key: one for key, one in leaf.items() if key not in ("op", "value", "for")} | {
            kind: said(form, "choice")
        }
        for one in about.get("beside", []):
            new.pop(one["key"], None)
            value = said(form, one["key"], str(leaf.get(one["key"], one["default"])))
            new |= {} if value == one["default"] else {one["key"]: value}
        if about.get("operators"):
            op = said(form, "op", _leaf_op(about, leaf))
            had, takes = (_takes(about["operators"], one, "nothing") for one in (_leaf_op(about, leaf), op))
            if takes != "nothing" or op != "eq":
                new["op"] = op
            if takes != "nothing":
                type_ = about.get("type", "number")
                value = controls.read_value(form, "value", type_, had, leaf.get("value"))
                new["value"] = controls.converted(value, type_, had, takes)
        if _may_last(kind) and new.get("op", "eq") == "eq" and (span := controls.read_span(form, "for")):
            new["for"] = span
        return new

    def _new_leaf(self, kind: str) -> dict[str, Any]:
        if kind == "bucket":
            return {"bucket": "0-9", "salt": "draw-1"}
        about = self.leaves[kind]
        choices = _choices(about)
        new: dict[str, Any] = {kind: choices[0][0] if len(choices) == 1 else ""}
        ops = {one["op"]: one.get("takes", "nothing") for one in about.get("operators", [])}
        if "gte" in ops:
            new |= {"op": "gte", "value": None}
        elif "in" in ops:
            new |= {"op": "in", "value": []}
        return new


def counts() -> Choices:
    """The operators of how often something was done."""
    return [(one["op"], one["label"]) for one in rulewords.counts()]


def property_operators() -> dict[str, list[dict[str, Any]]]:
    """The operators of properties of touchpoints, by the type of the value."""
    return {type_: rulewords.operators(type_, OPERATORS[type_]) for type_ in ("text", "number", "boolean", "datetime")}


def what_of(leaf: dict[str, Any]) -> str:
    """What a question is about, as the first control names it; empty for a new one."""
    if "field" in leaf:
        return f"field:{leaf['field']}"
    if "did" in leaf:
        return f"did:{leaf['did']}"
    return next((f"leaf:{kind}" for kind in leaf_kinds() if kind in leaf), "")


def op_of(leaf: dict[str, Any]) -> str:
    op = leaf.get("op", "eq" if "value" in leaf else "is_set")
    return op if isinstance(op, str) else ""


def time_of(leaf: dict[str, Any]) -> str:
    """By which edges of time an event is asked for, such as `after+before`."""
    return "+".join(edge for edge in ("within", "after", "before") if edge in leaf)


def _times(chosen: str) -> Choices:
    times = [
        ("", _("at any time")),
        ("within", _("in the last")),
        ("after", _("after")),
        ("before", _("before")),
        ("after+before", _("after and before")),
    ]
    # Whoever wrote both as text keeps both.
    return times if chosen in dict(times) else [*times, (chosen, _("by more than one of these"))]


def _leaf_op(about: dict[str, Any], leaf: dict[str, Any]) -> str:
    ops = [one["op"] for one in about["operators"]]
    return str(leaf.get("op", "eq" if "takes" not in about["operators"][0] else "gte" if "gte" in ops else ops[0]))


def _may_last(kind: str) -> bool:
    return kind in ("stage", "in_segment")


def _has(form: Form, name: str) -> bool:
    return f"{name}.number" in form or f"{name}.text" in form


def _takes(operators: list[dict[str, Any]], op: str, otherwise: str = "value") -> str:
    return next((str(one.get("takes", otherwise)) for one in operators if one["op"] == op), otherwise)


def _options(operators: list[dict[str, Any]]) -> Choices:
    return [(one["op"], str(one["label"])) for one in operators]


def _choices(about: dict[str, Any]) -> Choices:
    return [(str(one["value"]), str(one["label"])) for one in about.get("choices", [])]


def _filters(leaf: dict[str, Any]) -> list[dict[str, Any]]:
    filters = leaf.get("where")
    return [one for one in filters if isinstance(one, dict)] if isinstance(filters, list) else []


def _first_of(types: list[str]) -> Any:
    return {"number": None, "boolean": True}.get(types[0] if types else "text", "")


def _type_of(one: dict[str, Any], known: dict[str, list[str]]) -> str:
    """By which type a property is compared: its value says so, as in `contacts.did`; an unfilled number is None."""
    op, value = op_of(one), one.get("value")
    if op in ("before", "after", "within_last"):
        return "datetime"
    if isinstance(value, list):
        value = value[0] if value else ""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float) or ("value" in one and value is None):
        return "number"
    if op in ("gt", "gte", "lt", "lte"):
        return "datetime" if value else "number"
    return "text"


def _share(leaf: dict[str, Any]) -> tuple[str, str]:
    first, dash, last = str(leaf.get("bucket", "")).partition("-")
    return first, last if dash else first
