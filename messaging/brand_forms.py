"""The form of the brand: an input for each colour, font, limit and language, in place of JSON."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from messaging import brand_kit, colours
from messaging.linter_words import HEARD
from messaging.models import Brand

_SHORT = {"class": "vTextField"}


class ColourInput(forms.TextInput):
    """A colour as text, with a picker beside it and, where it stands upon another, how well it is read there."""

    template_name = "messaging/widgets/colour.html"

    def __init__(self, *, plain: str, upon: str = "") -> None:
        super().__init__(attrs={"class": "colour-text", "spellcheck": "false", "maxlength": 40})
        self.plain, self.upon = plain, upon
        # Set by the form, which knows what it stands upon.
        self.ratio: float | None = None

    def get_context(self, name: str, value: Any, attrs: dict | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        shown = colours.read(str(value or self.plain)) or colours.read(self.plain) or (0, 0, 0)
        context["widget"] |= {
            "plain": self.plain,
            "picked": colours.written(shown),
            "upon": f"colour_{self.upon}" if self.upon else "",
            "ratio": self.ratio,
            "is_readable": self.ratio is not None and self.ratio >= 4.5,
        }
        return context


class ColourField(forms.CharField):
    """A colour, or nothing."""

    def clean(self, value: Any) -> str:
        text = super().clean(value).strip()
        if text and colours.read(text) is None:
            raise forms.ValidationError(_("“%(value)s” is no colour. Write it as #00bb66.") % {"value": text})
        return text


class StackField(forms.CharField):
    """Families of fonts with commas between."""

    def clean(self, value: Any) -> str:
        text = super().clean(value).strip()
        if text and (wrong := brand_kit.wrong_font(text)):
            raise forms.ValidationError(wrong)
        return text


class LanguagesField(forms.CharField):
    """Languages with commas between."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        found = [one for part in super().clean(value).replace(",", " ").split() if (one := part.strip())]
        if wrong := brand_kit.wrong_languages(found):
            raise forms.ValidationError(wrong)
        return list(dict.fromkeys(found))

    def has_changed(self, initial: Any, data: Any) -> bool:
        return (self.prepare_value(initial) or "") != (data or "")


class WordsField(forms.CharField):
    """Words, one a line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(widget=_lines(4), required=False, **options)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        words = [line.strip() for line in super().clean(value).splitlines() if line.strip()]
        if wrong := brand_kit.wrong_words(words):
            raise forms.ValidationError(wrong)
        return words

    def has_changed(self, initial: Any, data: Any) -> bool:
        return (self.prepare_value(initial) or "") != (data or "").replace("\r\n", "\n")


class GlossaryField(WordsField):
    """Terms, one a line, each with the ways in which we do not write it: `e-mail = email, mejl*`."""

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return "\n".join(f"{term} = {', '.join(never)}" if never else str(term) for term, never in value.items())

    def clean(self, value: Any) -> Any:
        terms: dict[str, list[str]] = {}
        for line in forms.CharField.clean(self, value).splitlines():
            term, _equals, never = line.partition("=")
            if term.strip() or never.strip():
                terms[term.strip()] = [one.strip() for one in never.split(",") if one.strip()]
        if wrong := brand_kit.wrong_terms(terms):
            raise forms.ValidationError(wrong)
        return terms


def _lines(rows: int) -> forms.Textarea:
    return forms.Textarea(attrs={"rows": rows, "class": "vLargeTextField"})


def languages_of(brand: Brand | None) -> list[str]:
    """The languages with inputs of their own: those the brand writes in, those it says anything for, else ours."""
    if brand is None:
        return [code for code, _name in settings.LANGUAGES]
    used: dict[str, None] = dict.fromkeys(brand.languages or [code for code, _name in settings.LANGUAGES])
    for part in (brand.legal, brand.banned_words, brand.glossary, (brand.tone or {}).get("address")):
        if isinstance(part, Mapping):
            used |= dict.fromkeys(str(one) for one in part if one)
    return list(used)


def own_fields(brand: Brand | None) -> dict[str, forms.Field]:
    """The inputs for all that is kept as JSON, by their names, with what the brand has in them."""
    brand = brand or Brand()
    made: dict[str, forms.Field] = {}
    for name, label in brand_kit.COLOURS.items():
        widget = ColourInput(plain=brand_kit.PLAIN[name], upon=brand_kit.UPON.get(name, ""))
        made[f"colour_{name}"] = ColourField(
            label=capfirst(label), required=False, widget=widget, initial=(brand.colours or {}).get(name, "")
        )
    for name, label in brand_kit.FONTS.items():
        made[f"font_{name}"] = StackField(
            label=capfirst(label), required=False, initial=(brand.fonts or {}).get(name, ""),
            widget=forms.TextInput(attrs=_SHORT | {"placeholder": "Arial, Helvetica, sans-serif"}),
        )  # fmt: skip
    made["languages"] = LanguagesField(
        label=capfirst(_("languages we write in")), required=False, initial=brand.languages,
        widget=forms.TextInput(attrs=_SHORT | {"placeholder": "en, cs, pl"}),
        help_text=_("with commas between; a message without one of them is pointed out"),
    )  # fmt: skip
    for name, (label, least, most) in brand_kit.TONE.items():
        made[f"tone_{name}"] = forms.IntegerField(
            label=capfirst(label), required=False, min_value=least, max_value=most, initial=(brand.tone or {}).get(name)
        )
    banned = brand.banned_words if isinstance(brand.banned_words, Mapping) else {"": brand.banned_words}
    for language in ["", *languages_of(brand if brand.pk else None)]:
        end = language or "all"
        made[f"banned_{end}"] = WordsField(
            label=_("Words we do not use"), initial=list(banned.get(language) or []),
            help_text=_("one a line; with a star at its end also with any ending: levn*"),
        )  # fmt: skip
        made[f"glossary_{end}"] = GlossaryField(
            label=_("Glossary"), initial=dict((brand.glossary or {}).get(language) or {}),
            help_text=_("one a line, as we write it, then how we do not: e-mail = email, mejl*"),
        )  # fmt: skip
        made[f"legal_{end}"] = forms.CharField(
            label=_("Legal text"), required=False, widget=_lines(3), initial=(brand.legal or {}).get(language, "")
        )
        if language.split("-")[0] in HEARD:
            said = ((brand.tone or {}).get("address") or {}).get(language.split("-")[0], "")
            made[f"address_{end}"] = forms.ChoiceField(
                label=_("How we say “you”"), required=False, initial=said,
                choices=[("", _("either")), ("formal", _("formally")), ("informal", _("familiarly"))],
            )  # fmt: skip
    return made


def fieldsets_of(brand: Brand | None) -> list[tuple[str | Promise | None, dict[str, Any]]]:
    """The inputs in their groups; each language has one of its own."""
    names = list(own_fields(brand))

    def some(*starts: str) -> list[str]:
        return [name for name in names if name.startswith(starts)]

    light = [name for name in some("colour_") if not name.startswith("colour_dark")]
    known = dict(settings.LANGUAGES)
    groups: list[tuple[str | Promise | None, dict[str, Any]]] = [
        (None, {"fields": ["name", "sender", "reply_to", "postal_address", "website"]}),
        (
            _("Appearance"),
            {
                "fields": ["logo_url", *light, *some("font_"), "button_radius"],
                "description": _(
                    "Header and footer are the same in every mail: logo, address, legal text, the links to "
                    "unsubscribe and to choose. Nobody can leave them off."
                ),
            },
        ),
        (_("Appearance in dark"), {"fields": some("colour_dark")}),
        (_("Voice"), {"fields": ["languages", *some("tone_")]}),
    ]
    for language in ["all", *languages_of(brand if brand and brand.pk else None)]:
        title = _("All languages") if language == "all" else known.get(language, language)
        groups.append((title, {"fields": [name for name in names if name.partition("_")[2] == language]}))
    return groups


class BrandForm(forms.ModelForm):
    """Made for one brand by `BrandAdmin`, with the inputs of `own_fields`."""

    class Meta:
        model = Brand
        fields = ["name", "sender", "reply_to", "postal_address", "website", "logo_url", "button_radius"]
        widgets = {
            "name": forms.TextInput(attrs=_SHORT),
            "sender": forms.TextInput(attrs=_SHORT),
            "reply_to": forms.TextInput(attrs=_SHORT),
            "postal_address": _lines(2),
        }
        # The admin takes a help text for HTML.
        help_texts = {"sender": "Acme &lt;hello@acme.example&gt;"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        said = {name: str(self[f"colour_{name}"].value() or "") for name in brand_kit.COLOURS}
        ratios = brand_kit.contrasts({name: value for name, value in said.items() if colours.read(value)})
        for name, ratio in ratios.items():
            self.fields[f"colour_{name}"].widget.ratio = int(ratio * 10) / 10

    def _told(self, start: str) -> dict[str, Any]:
        """What was told by the inputs whose names begin so, by the rest of their names; nothing is left out."""
        found = {}
        for name in self.fields:
            if name.startswith(start):
                value = self.cleaned_data.get(name)
                if value not in (None, "", [], {}):
                    end = name.removeprefix(start)
                    found["" if end == "all" else end] = value
        return found

    def _post_clean(self) -> None:
        brand = self.instance
        brand.colours, brand.fonts = self._told("colour_"), self._told("font_")
        brand.languages = self.cleaned_data.get("languages") or []
        banned = self._told("banned_")
        brand.banned_words = banned.get("", []) if banned.keys() <= {""} else banned
        brand.glossary, brand.legal = self._told("glossary_"), self._told("legal_")
        address = {language.split("-")[0]: said for language, said in self._told("address_").items()}
        brand.tone = self._told("tone_") | ({"address": address} if address else {})
        super()._post_clean()  # type: ignore[misc]

    def _update_errors(self, errors: forms.ValidationError) -> None:
        """What only the whole kit shows is said above the form, in place of an input that is not there."""
        for name in [one for one in getattr(errors, "error_dict", {}) if one not in self.fields]:
            self.add_error(None, errors.error_dict.pop(name))
        if getattr(errors, "error_dict", True):
            super()._update_errors(errors)  # type: ignore[misc]
