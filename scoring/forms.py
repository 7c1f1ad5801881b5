"""Form fields of this app: spans of time and bounds as people write them."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib.postgres.forms import SimpleArrayField
from django.utils.dateparse import parse_duration as parse_django
from django.utils.translation import gettext_lazy as _

from contacts.durations import format_duration, parse_duration


class SpanField(forms.DurationField):
    """A span such as 14d or 12h; Django's own way of writing one is read, too."""

    widget = forms.TextInput(attrs={"size": 8, "placeholder": "14d"})

    def prepare_value(self, value: Any) -> Any:
        return format_duration(value) if isinstance(value, timedelta) else value

    def to_python(self, value: Any) -> timedelta | None:
        if value in self.empty_values or isinstance(value, timedelta):
            return value or None
        try:
            return parse_duration(str(value))
        except ValueError as error:
            if ":" in str(value) and (span := parse_django(str(value))):
                return span
            raise forms.ValidationError(str(error)) from None


class BoundsField(SimpleArrayField):
    """Numbers, the largest first, with commas between them."""

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, list):
            return ", ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
        return value

    def __init__(self, base_field: Any = None, **options: Any) -> None:
        # A number with a decimal comma would be two.
        super().__init__(forms.FloatField(localize=False), **options)
        self.error_messages["item_invalid"] = _("Number %(nth)s is none:")
