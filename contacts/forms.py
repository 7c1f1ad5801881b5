"""The forms of the contacts' admin screens."""

import json
from datetime import datetime
from typing import Any

from django import forms
from django.forms.fields import InvalidJSONInput
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from contacts import fieldforms, segments, syncing
from contacts.fields import settle_unfit
from contacts.models import ApiToken, Contact, Segment
from contacts.records import COLUMNS, Reader, Record, Wrong
from contacts.rule_widget import RuleField, RuleWidget
from contacts.rules import RuleError


class JSONText(forms.JSONField):
    """JSON that somebody wrote; what Python cannot read or PostgreSQL cannot store is invalid too."""

    def to_python(self, value):
        try:
            read = super().to_python(value)
            # Half of a surrogate pair is JSON, and no text.
            json.dumps(read, ensure_ascii=False, default=str).encode()
        except (RecursionError, UnicodeEncodeError):
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid", params={"value": "…"}) from None
        return read

    def bound_data(self, data, initial):
        try:
            read = super().bound_data(data, initial)
            json.dumps(read, ensure_ascii=False, default=str).encode()
            return read
        except (RecursionError, UnicodeEncodeError):
            return InvalidJSONInput(data)


class ContactForm(forms.ModelForm):
    """Edits a contact by the same reading and writing as the sync API, so identities and news are never forgotten."""

    class Meta:
        model = Contact
        fields = [*COLUMNS, "company", "owner", "attributes"]
        widgets = {name: forms.TextInput(attrs={"class": "vTextField"}) for name in COLUMNS} | {
            "attributes": forms.Textarea(attrs={"rows": 6, "class": "vLargeTextField"})
        }
        field_classes = {"attributes": JSONText}

    record: Record | None = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if "attributes" in self.fields and isinstance(self.initial.get("attributes"), dict):
            # Custom fields have inputs of their own; the box has what is none yet.
            own = {name.removeprefix(fieldforms.PREFIX) for name in self.fields}
            self.initial["attributes"] = {key: one for key, one in self.initial["attributes"].items() if key not in own}

    def clean(self):
        data = super().clean()
        if self.errors:
            return data
        row: dict[str, Any] = {name: data[name] for name in self.changed_data if name in COLUMNS}
        if self.instance.pk:
            row["id"] = self.instance.pk
        if "country" not in row and "phone" in row:
            row["country"] = data["country"]
        if "company" in self.changed_data:
            row["company"] = {"id": data["company"].pk} if data["company"] else None
        if "owner" in self.changed_data:
            row["owner"] = data["owner"].username if data["owner"] else None
        if "attributes" in self.changed_data:
            wanted, had = data["attributes"] or {}, self.initial.get("attributes") or {}
            if not isinstance(wanted, dict):
                self.add_error("attributes", _("This must be an object."))
                return data
            row["attributes"] = wanted | {key: None for key in had if key not in wanted}
        own = fieldforms.told_by(self)
        if own:
            row["attributes"] = row.get("attributes", {}) | own
        try:
            self.record = Reader(timezone.now(), [row["owner"]] if row.get("owner") else []).read(0, row)
        except Wrong as wrong:
            name, _dot, key = wrong.error["field"].partition(".")
            name = fieldforms.PREFIX + key if key in own else name
            self.add_error(name if name in self.fields else None, wrong.error["message"])
            return data
        if not self.instance.pk and not self.record.email:
            self.add_error("email", _("A new contact needs an e-mail address."))
        elif self.record.email and self._is_taken(self.record.email):
            self.add_error("email", _("Another contact has this address; merge the two instead."))
        return data

    def _is_taken(self, email):
        taken = Contact.objects.filter(identities__kind="email", identities__value=email)
        return taken.exclude(pk=self.instance.pk).exists()

    def write(self, by: str, now: datetime) -> dict[str, Any]:
        """Stores what was changed; what became of it, as the sync API answers."""
        result: dict[str, Any] = {"index": 0, "id": None, "status": "", "errors": []}
        assert self.record is not None
        syncing.write({0: [self.record]}, [result], source="admin", now=now, actor=by)
        settle_unfit([result["id"]] if result["id"] and self.record.attributes else [])
        return result


class SegmentForm(forms.ModelForm):
    class Meta:
        model = Segment
        fields = ["name", "key", "rule"]
        field_classes = {"rule": RuleField}
        widgets = {"name": forms.TextInput(attrs={"class": "vTextField"}), "rule": RuleWidget(of="segment")}
        help_texts = {"rule": ""}  # the builder says it

    def clean(self):
        data = super().clean()
        if "rule" in data and "key" not in self.errors:
            try:
                segments.check(data.get("key") or self.instance.key, data["rule"])
            except RuleError as error:
                self.add_error("rule", error.message)
        return data


class TokenForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(
        label=pgettext_lazy("API token", "May"),
        choices=[
            ("track", gettext_lazy("track: send events; safe in a public page")),
            ("read", gettext_lazy("read: read everything")),
            ("sync", gettext_lazy("sync: read and write contacts")),
            ("admin", gettext_lazy("admin: all of it")),
        ],
        widget=forms.CheckboxSelectMultiple,
    )

    class Meta:
        model = ApiToken
        fields = ["name", "user", "scopes", "expires_at", "origin", "requests_per_minute", "rows_per_minute"]
        widgets = {"name": forms.TextInput(attrs={"class": "vTextField"})}
