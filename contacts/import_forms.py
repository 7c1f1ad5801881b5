"""The forms of the import wizard: the file, how it is read, what its columns fill, what becomes of its rows."""

from typing import Any

from django import forms
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts import columns
from contacts.csvfiles import ENCODINGS, SEPARATORS, Unreadable
from contacts.importing import new_import
from contacts.models import Consent, Field, Import, Segment

LARGEST_FILE = 512 << 20
_ENDINGS = (".csv", ".txt", ".tsv", ".xlsx")
NEW_FIELD = "+"
# Some words about why are asked of whoever lets a file raise consent.
_SHORTEST_REASON = 15

_NAMES = {
    "email": gettext_lazy("E-mail"), "user_id": gettext_lazy("User ID"), "name": gettext_lazy("First and last name"),
    "first_name": gettext_lazy("First name"), "last_name": gettext_lazy("Last name"),
    "salutation": gettext_lazy("Salutation"), "phone": gettext_lazy("Telephone"), "company": gettext_lazy("Company"),
    "company.domain": gettext_lazy("Company's domain"), "job_title": gettext_lazy("Job title"),
    "company_role": gettext_lazy("Role in the company"), "language": gettext_lazy("Language"),
    "country": gettext_lazy("Country"), "timezone": gettext_lazy("Time zone"), "owner": gettext_lazy("Owner"),
    "source": gettext_lazy("Source"), "updated_at": gettext_lazy("Changed at (older rows change nothing)"),
    "id": gettext_lazy("Number of the contact here"),
}  # fmt: skip


# How a column may be written, where it can be read in two ways.
_NUMBERS = [(".", gettext_lazy("1,234.5 with a decimal point")), (",", gettext_lazy("1.234,5 with a decimal comma"))]
_DAYS = [("dmy", gettext_lazy("day/month/year")), ("mdy", gettext_lazy("month/day/year"))]


def targets(wanted: list[str]) -> list[tuple[str, Any]]:
    """What a column may fill, grouped; also those of `wanted` that are consents nobody gave yet."""
    fields = [(f"attributes.{one.key}", str(one)) for one in Field.objects.all()]
    said = Consent.objects.order_by().values_list("topic", "channel").distinct()[:50]
    consents = {f"consents.{topic}" if channel == "email" else f"consents.{channel}/{topic}" for topic, channel in said}
    consents |= {one for one in wanted if one.startswith("consents.")}
    groups: list[tuple[str, Any]] = [
        ("", _("leave out")),
        (NEW_FIELD, _("new custom field …")),
        (_("Person"), list(_NAMES.items())),
    ]
    if fields:
        groups.append((_("Custom fields"), fields))
    if consents:
        groups.append((_("Consent"), [(one, one.partition(".")[2] or _("all e-mail")) for one in sorted(consents)]))
    return groups


class UploadForm(forms.Form):
    file = forms.FileField(
        label=gettext_lazy("CSV or XLSX file"),
        widget=forms.FileInput(attrs={"accept": ",".join(_ENDINGS)}),
        help_text=gettext_lazy("Up to 512 MB. Any encoding and separator; the first line names the columns."),
    )

    made: Import | None = None

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if not file.name.lower().endswith(_ENDINGS):
            raise forms.ValidationError(_("A file that ends in .csv, .tsv, .txt or .xlsx is needed."))
        if file.size > LARGEST_FILE:
            raise forms.ValidationError(_("The file is larger than 512 MB. Part it, or leave columns out."))
        return file

    def save(self, user: Any) -> Import | None:
        """The draft of an import, its columns as somebody chose them for such a file, else guessed; None if it is no
        table, which the form then says."""
        file = self.cleaned_data["file"]
        try:
            one = new_import(file.name, file, started_by=user)
        except Unreadable as error:
            self.add_error("file", str(error))
            return None
        remember(one)
        return one


def remember(one: Import) -> None:
    """Fills in the columns as the last file with the same headers had them, else as they are guessed."""
    alike = Import.objects.filter(headers=one.headers).exclude(pk=one.pk).exclude(mapping={}).order_by("-pk").first()
    # Columns without names are alike by chance.
    one.mapping = alike.mapping if alike and one.header_line != 0 else {**columns.guess(one.headers), **one.mapping}
    one.save(update_fields=["mapping"])


class ReadingForm(forms.ModelForm):
    """How the file is read: what was guessed, to be put right."""

    class Meta:
        model = Import
        fields = ["encoding", "separator", "sheet", "header_line"]

    def __init__(self, *args: Any, sheets: list[str], **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.fields["header_line"].label = _("Line that names the columns (0: none, the first line is data)")
        if sheets:
            self.fields["sheet"] = forms.ChoiceField(label=_("Sheet"), choices=[(one, one) for one in sheets])
            del self.fields["encoding"], self.fields["separator"]
        else:
            self.fields["encoding"] = forms.ChoiceField(label=_("Encoding"), choices=list(ENCODINGS.items()))
            # An odd one stands in the file itself, as “sep=#”.
            marks: dict[str, Any] = {self.instance.separator: self.instance.separator} | SEPARATORS
            marks.pop("", None)
            # A tab would be trimmed away.
            self.fields["separator"] = forms.ChoiceField(
                label=_("Separator"), choices=[("tab" if mark == "\t" else mark, name) for mark, name in marks.items()]
            )
            self.initial["separator"] = "tab" if self.instance.separator == "\t" else self.instance.separator
            del self.fields["sheet"]

    def clean_separator(self) -> str:
        mark = self.cleaned_data["separator"]
        return "\t" if mark == "tab" else mark


class ColumnForm(forms.Form):
    """What one column fills."""

    target = forms.ChoiceField(required=False)
    name = forms.CharField(required=False, max_length=64, strip=True)
    type = forms.ChoiceField(required=False, choices=[one for one in Field.TYPES if one[0] != "choice"])
    reading = forms.ChoiceField(required=False)

    def __init__(
        self, *args: Any, header: str, samples: list[str], choices: list[tuple[str, Any]],
        reading: dict[str, Any] | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(*args, **kwargs)
        self.header, self.samples = header, samples
        self.is_unsure = bool(reading) and not (reading or {}).get("is_sure")
        if reading:
            asked = self.fields["reading"]
            assert isinstance(asked, forms.ChoiceField)
            asked.choices = _NUMBERS if reading["as"] in (",", ".") else _DAYS
            self.initial["reading"] = reading["as"]
        else:
            del self.fields["reading"]
        target = self.fields["target"]
        assert isinstance(target, forms.ChoiceField)
        target.choices = choices
        for name, label in {
            "target": _("What the column “%(column)s” fills"),
            "name": _("Name of the new field for “%(column)s”"),
            "type": _("Type of the new field for “%(column)s”"),
            "reading": _("How “%(column)s” is written"),
        }.items():
            if name not in self.fields:
                continue
            self.fields[name].widget.attrs["aria-label"] = label % {"column": header}

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("target") == NEW_FIELD and not slugify(data.get("name") or "").replace("-", "_"):
            self.add_error("name", _("A new field needs a name."))
        return data

    def chosen(self) -> str:
        """The target; a new field is made."""
        if self.cleaned_data["target"] != NEW_FIELD:
            return self.cleaned_data["target"]
        name = self.cleaned_data["name"]
        key = slugify(name).replace("-", "_")[:64]
        Field.objects.get_or_create(key=key, defaults={"name": name, "type": self.cleaned_data["type"] or "text"})
        return f"attributes.{key}"


class OptionsForm(forms.ModelForm):
    """What is to become of the rows."""

    constant = forms.ChoiceField(label=gettext_lazy("Write into every row"), required=False)
    constant_value = forms.CharField(label=gettext_lazy("this value"), required=False, max_length=200)

    class Meta:
        model = Import
        fields = ["mode", "segment", "may_raise_consent", "raise_reason"]
        widgets = {"raise_reason": forms.TextInput(attrs={"class": "vTextField"})}
        labels = {
            "mode": gettext_lazy("What to do"),
            "may_raise_consent": gettext_lazy("This file may raise consent"),
            "raise_reason": gettext_lazy("Why: how these people gave their consent"),
        }

    def __init__(self, *args: Any, may_raise: bool, **kwargs: Any):
        super().__init__(*args, **kwargs)
        constant = self.fields["constant"]
        assert isinstance(constant, forms.ChoiceField)
        fields = [(f"attributes.{one.key}", str(one)) for one in Field.objects.exclude(type="list")]
        constant.choices = [("", _("nothing")), ("source", _("Source")), ("owner", _("Owner")), *fields]
        self.fields["segment"].queryset = Segment.objects.all()  # type: ignore[attr-defined]
        self.fields["segment"].empty_label = _("none")  # type: ignore[attr-defined]
        for field, value in (self.instance.constants or {}).items():
            self.initial["constant"], self.initial["constant_value"] = field, value
        if not may_raise:
            del self.fields["may_raise_consent"], self.fields["raise_reason"]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("may_raise_consent") and len(data.get("raise_reason") or "") < _SHORTEST_REASON:
            self.add_error("raise_reason", _("Say in a few words how these people gave their consent; it is kept."))
        if data.get("constant") and not data.get("constant_value"):
            self.add_error("constant_value", _("Say which value."))
        return data

    def save(self, commit: bool = True) -> Import:
        data = self.cleaned_data
        self.instance.constants = {data["constant"]: data["constant_value"]} if data.get("constant") else {}
        if not data.get("may_raise_consent"):
            self.instance.may_raise_consent, self.instance.raise_reason = False, ""
        return super().save(commit)
