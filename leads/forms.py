"""What a rep fills in when he moves a lead."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, cast

from django import forms
from django.core.cache import cache
from django.db.models import Model
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from leads.desk import name_of
from leads.handing import colleagues
from leads.models import Activity, RejectReason
from leads.wording import in_language

LONGEST = 4000


def _words(label: Any, *, required: bool = False, rows: int = 2, longest: int = LONGEST) -> forms.CharField:
    return forms.CharField(
        required=required, max_length=longest, label=label, widget=forms.Textarea(attrs={"rows": rows})
    )


def _moment(label: Any, *, required: bool = False) -> forms.DateTimeField:
    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
    return forms.DateTimeField(required=required, label=label, widget=widget)


class _ReasonField(forms.ModelChoiceField):
    tracks: Mapping[str, str] = {}

    def label_from_instance(self, obj: Model) -> str:
        reason = cast(Any, obj)
        reason.goes_to = self.tracks.get(reason.track_key, reason.track_key)
        return in_language(reason.names, reason.name)


class RejectForm(forms.Form):
    """With `tracks` (key → name) each reason knows in people's words where it leads: `goes_to`."""

    reason = _ReasonField(
        queryset=RejectReason.objects.all(),
        to_field_name="key",
        widget=forms.RadioSelect,
        label=_("Why?"),
        error_messages={
            "required": _("Choose a reason, so that marketing knows how to go on."),
            "invalid_choice": _("This reason is no longer on the list; choose another."),
        },
    )
    note = _words(_("Note"))

    def __init__(self, *args: Any, tracks: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(*args, **more)
        cast(_ReasonField, self.fields["reason"]).tracks = tracks or {}


class ConvertForm(forms.Form):
    value = forms.DecimalField(
        required=False, max_digits=14, decimal_places=2, min_value=0, localize=True, label=_("Value of the deal"),
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )  # fmt: skip
    currency = forms.RegexField(
        r"^[A-Za-z]{3}$", required=False, label=_("Currency"), initial="EUR",
        widget=forms.TextInput(attrs={"maxlength": 3, "autocomplete": "off", "spellcheck": "false"}),
        error_messages={"invalid": _("Three letters, such as EUR.")},
    )  # fmt: skip
    is_order = forms.BooleanField(required=False, label=_("Book it as an order, too"))
    order_number = forms.CharField(
        required=False, max_length=100, label=_("Order number"), widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
    note = _words(_("Note"))

    def clean_currency(self) -> str:
        return str(self.cleaned_data["currency"] or "EUR").upper()

    def move(self) -> dict[str, Any]:
        """What the desk is told."""
        told = {key: self.cleaned_data[key] for key in ("value", "currency", "order_number", "note")}
        return told | {"order_total": self.cleaned_data["value"] if self.cleaned_data["is_order"] else None}

    def clean(self) -> dict[str, Any]:
        told = cast(dict[str, Any], super().clean())
        wants_order = told.get("is_order") or told.get("order_number")
        if wants_order and told.get("value") is None and "value" not in self.errors:
            self.add_error("value", _("An order needs a value."))
        return told


class CallForm(forms.Form):
    outcome = forms.ChoiceField(
        choices=Activity.OUTCOMES, widget=forms.RadioSelect, label=_("How did it go?"),
        error_messages={"required": _("Choose how the call went.")},
    )  # fmt: skip
    body = _words(_("What was said"))
    back_at = _moment(_("Call again on"))


class NoteForm(forms.Form):
    body = _words(_("Note"), required=True, rows=3)


class SnoozeForm(forms.Form):
    """`when` is a span of days from today at nine by the page's clock, or "at" for the moment in `until`."""

    WHEN = [
        ("hours", _("In three hours")),
        ("1", _("Tomorrow at nine")),
        ("3", _("In three days")),
        ("7", _("In a week")),
        ("30", _("In 30 days")),
        ("at", _("At another moment")),
    ]
    when = forms.ChoiceField(choices=WHEN, widget=forms.RadioSelect, label=_("Until when?"))
    until = _moment(_("Moment"))
    reason = forms.CharField(
        required=False, max_length=500, label=_("Why"), widget=forms.TextInput(attrs={"autocomplete": "off"})
    )

    def clean(self) -> dict[str, Any]:
        told = cast(dict[str, Any], super().clean())
        if told.get("when") == "at" and not told.get("until") and "until" not in self.errors:
            self.add_error("until", _("Say when."))
        return told

    def move(self, now: datetime) -> dict[str, Any]:
        """What the desk is told."""
        when = self.cleaned_data["when"]
        if when == "at":
            until = self.cleaned_data["until"]
        elif when == "hours":
            until = now + timedelta(hours=3)
        else:
            day = timezone.localtime(now).replace(tzinfo=None, hour=9, minute=0, second=0, microsecond=0)
            until = timezone.make_aware(day + timedelta(days=int(when)))
        return {"until": until, "reason": self.cleaned_data["reason"]}


class AssignForm(forms.Form):
    """To whom a lead may be given; who joined a team is among them within a minute."""

    to = forms.TypedChoiceField(coerce=int, label=_("To whom?"))

    def __init__(self, *args: Any, by: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        key = f"leads-colleagues-{by.pk}"
        choices = cache.get(key)
        if choices is None:
            choices = [(user.pk, name_of(user)) for user in colleagues(by).exclude(pk=by.pk)]
            cache.set(key, choices, 60)
        cast(forms.ChoiceField, self.fields["to"]).choices = choices


class TaskForm(forms.Form):
    title = forms.CharField(
        max_length=500, label=_("What is to be done?"), widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
    due_at = _moment(_("Until"))


class HoldForm(forms.Form):
    days = forms.TypedChoiceField(
        choices=[(7, _("For a week")), (14, _("For two weeks")), (30, _("For 30 days"))],
        coerce=int, initial=14, label=_("How long?"),
    )  # fmt: skip
    reason = forms.CharField(
        required=False, max_length=500, label=_("Why"), widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
