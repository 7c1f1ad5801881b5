"""A form field for rules: built from rows that read as sentences, or written as text; without script just the text.

    rule = RuleField(required=False)                                     a rule, checked when the form is
    class Meta: field_classes = {"rule": RuleField}                      of a model form with a JSONField

The page needs `{{ form.media }}`, which the admin's forms have by themselves, and a user who may see segments.
"""

import json
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts import written
from contacts.rulefields import Vocabulary
from contacts.rulerows import draw, problems_of
from contacts.rules import RuleError, parse

# What a rule without a condition means, by what it is the rule of.
WITHOUT_CONDITIONS = {
    "": gettext_lazy("No condition yet."),
    "segment": gettext_lazy("No condition yet: only people put in by hand belong here."),
    "team": gettext_lazy("No condition yet: all that no other team takes."),
    "rep": gettext_lazy("No condition yet: all of the team."),
}

# Longer than the longest rule that can be asked.
LONGEST = 200_000


def read_rule(text: str) -> Any:
    """What somebody wrote, as YAML or JSON; None for an empty text. Raises `written.Unreadable`."""
    if len(text) > LONGEST:
        raise written.Unreadable(_("It says too much."), 0)
    if text.lstrip()[:1] in ("{", "["):
        try:
            rule = json.loads(text)
        except RecursionError:
            raise written.Unreadable(_("It is nested too deeply."), 0) from None
        except ValueError:
            pass  # so it may be YAML's short form
        else:
            if message := written.unkeepable(rule):
                raise written.Unreadable(message, 0)
            return rule
    return written.read(text)


class RuleWidget(forms.Textarea):
    """The builder around a text area that holds the rule."""

    template_name = "contacts/rule_widget.html"

    class Media:
        css = {"all": ["contacts/rules.css"]}
        js = [forms.widgets.Script("contacts/rules.js", type="module")]

    def __init__(self, attrs: dict[str, Any] | None = None, *, has_panel: bool = True, of: str = "") -> None:
        super().__init__({"rows": 8, "class": "vLargeTextField rule-source", "spellcheck": "false", **(attrs or {})})
        self.has_panel = has_panel
        # What it is the rule of: one of WITHOUT_CONDITIONS.
        self.of = of
        # Who needs the rule, named; None where nobody asks.
        self.users: list[str] | None = None

    def use_required_attribute(self, initial: Any) -> bool:
        # A browser says nothing where it cannot show the empty field that it complains of.
        return False

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        drawing = None
        try:
            rule = read_rule(value or "") if isinstance(value, str | None) else value
            drawing = draw(rule, context["widget"]["attrs"].get("id") or name, timezone.now())
        except written.Unreadable:
            pass
        return context | {
            "drawing": drawing,
            "of": self.of,
            "without": WITHOUT_CONDITIONS[self.of],
            "has_panel": self.has_panel,
            "users": self.users,
        }


class RuleField(forms.Field):
    """A rule; its value is JSON, or None."""

    widget = RuleWidget

    def __init__(self, *, encoder: Any = None, decoder: Any = None, **options: Any) -> None:
        # A JSONField of a model gives its encoder and decoder to its form field; a rule needs none.
        super().__init__(**options)

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) else written.write(value)

    def to_python(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return read_rule(value)
        except written.Unreadable as error:
            if not error.line:
                raise forms.ValidationError(str(error)) from None
            message = gettext_lazy("This cannot be read; look at line %(line)d.")
            raise forms.ValidationError(message, params={"line": error.line}) from None

    def validate(self, value: Any) -> None:
        if value is None:
            return super().validate(value)
        try:
            parse(value)
        except RuleError:
            raise forms.ValidationError(problems_of(value, Vocabulary())) from None

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.to_python(data or "") != self.to_python(initial))
        except forms.ValidationError:
            return True
