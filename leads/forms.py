"""What a rep fills in when he gives a lead back or wins it."""

from typing import cast

from django import forms
from django.db.models import Model
from django.utils.translation import gettext_lazy as _

from leads.models import RejectReason
from leads.wording import in_language


class _ReasonField(forms.ModelChoiceField):
    def label_from_instance(self, obj: Model) -> str:
        reason = cast(RejectReason, obj)
        return in_language(reason.names, reason.name)


class RejectForm(forms.Form):
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
    note = forms.CharField(required=False, max_length=4000, label=_("Note"), widget=forms.Textarea(attrs={"rows": 2}))


class ConvertForm(forms.Form):
    value = forms.DecimalField(
        required=False, max_digits=14, decimal_places=2, min_value=0, localize=True, label=_("Value of the deal"),
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
    )  # fmt: skip
    note = forms.CharField(required=False, max_length=4000, label=_("Note"), widget=forms.Textarea(attrs={"rows": 2}))
