"""Custom fields as inputs of a form, each of its own type, and the choices of a field as lines of text."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib.admin import widgets
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from contacts.models import Contact, Field
from contacts.rulefields import choices_of
from contacts.rulewords import say_value

PREFIX = "own_"


def own_fields(contact: Contact | None) -> dict[str, forms.Field]:
    """An input for each custom field, by its name in the form, with what the contact has in it."""
    stored: Mapping[str, Any] = contact.attributes if contact and isinstance(contact.attributes, dict) else {}
    unfit = {one.field_id: one for one in contact.unfit_values.all()} if contact and contact.pk else {}
    made = {}
    for one in Field.objects.order_by("name", "key"):
        field = _input(one, stored.get(one.key))
        field.label, field.required = one.name or one.key, False
        if aside := unfit.get(one.pk):
            field.help_text = _("On %(day)s somebody told “%(value)s”, which does not fit here.") % {
                "day": date_format(aside.told_at, "SHORT_DATE_FORMAT"),
                "value": say_value(aside.value)[:200],
            }
        made[PREFIX + one.key] = field
    return made


def _input(one: Field, value: Any) -> forms.Field:
    if one.type == "number":
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return NumberField(initial=value if is_number else None, widget=forms.NumberInput(attrs={"step": "any"}))
    if one.type == "boolean":
        initial = value if isinstance(value, bool) else None
        return forms.NullBooleanField(initial=initial, widget=forms.NullBooleanSelect)
    if one.type == "date":
        return DayField(initial=value if isinstance(value, str) else None, widget=widgets.AdminDateWidget)
    if one.type == "datetime":
        return MomentField(initial=_moment_of(value), widget=widgets.AdminSplitDateTime)
    if one.type == "choice":
        known = choices_of(one)
        more = {value: value} if isinstance(value, str) and value and value not in known else {}
        return forms.ChoiceField(initial=value, choices=[("", "–"), *(known | more).items()])
    if one.type == "list":
        return LinesField(had=value if isinstance(value, list) else [])
    return forms.CharField(initial=value, widget=forms.TextInput(attrs={"class": "vTextField"}))


def _moment_of(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else None


class NumberField(forms.FloatField):
    """A number as it is stored: whole ones without a point."""

    def clean(self, value: Any) -> Any:
        number = super().clean(value)
        return int(number) if number is not None and number.is_integer() and abs(number) < 1e15 else number


class DayField(forms.DateField):
    """A day as it is stored."""

    def clean(self, value: Any) -> Any:
        day = super().clean(value)
        return day.isoformat() if day else None

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return (initial or None) != self.clean(data)
        except forms.ValidationError:
            return True


class MomentField(forms.SplitDateTimeField):
    """A point of time by the workspace's clock."""

    def clean(self, value: Any) -> Any:
        moment = super().clean(value)
        return moment.astimezone(UTC).isoformat() if moment else None

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            told = self.clean(data)
        except forms.ValidationError:
            return True
        # The inputs hold whole seconds.
        had = initial.astimezone(UTC).replace(microsecond=0).isoformat() if isinstance(initial, datetime) else None
        return had != told


class LinesField(forms.CharField):
    """A list, one item a line; an item that stays keeps its type."""

    def __init__(self, *, had: list[Any]) -> None:
        self.had = {_line(one): one for one in had}
        super().__init__(
            initial="\n".join(self.had), widget=forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"})
        )

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        return [self.had.get(line, line) for one in text.splitlines() if (line := one.strip())] or None

    def has_changed(self, initial: Any, data: Any) -> bool:
        return (self.clean(data) or []) != list(self.had.values())


def _line(one: Any) -> str:
    return one if isinstance(one, str) else str(one)


def told_by(form: forms.Form) -> dict[str, Any]:
    """What somebody changed in those inputs: values by the keys of their fields, None where they cleared one."""
    changed = {}
    for name in form.changed_data:
        if name.startswith(PREFIX):
            value = form.cleaned_data.get(name)
            changed[name.removeprefix(PREFIX)] = None if value == "" else value
    return changed


# Choices as lines ----------------------------------------------------------------------------------------------------


class ChoicesField(forms.CharField):
    """The choices of a field, one a line: the value, or value = label."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("widget", forms.Textarea(attrs={"rows": 6, "class": "vLargeTextField"}))
        super().__init__(**options)

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return "\n".join(one if isinstance(one, str) else f"{one['key']} = {one['label']}" for one in value)

    def clean(self, value: Any) -> Any:
        lines = [line.strip() for line in super().clean(value).splitlines() if line.strip()]
        pairs = [[part.strip() for part in line.split(" = ", 1)] for line in lines]
        return [pair[0] if len(pair) == 1 else {"key": pair[0], "label": pair[1]} for pair in pairs]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self.clean(data or "") != (initial or [])
