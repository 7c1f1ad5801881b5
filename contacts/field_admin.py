"""The screens of custom fields, and of the traits that could become some."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts import fieldindexes, fields, segments
from contacts.fieldforms import ChoicesField
from contacts.models import Field, Trait
from contacts.rulewords import say_value

_SHOWN = 10


class FieldForm(forms.ModelForm):
    choices = ChoicesField(
        label=gettext_lazy("Choices"),
        required=False,
        help_text=gettext_lazy("Only of a choice: one a line, “value” or “value = what people read”."),
    )
    convert = forms.BooleanField(
        label=gettext_lazy("Convert the values that people have"),
        required=False,
        help_text=gettext_lazy("What does not fit is put aside; it comes back when it fits again."),
    )

    class Meta:
        model = Field
        fields = ["name", "key", "type", "choices"]
        widgets = {"name": forms.TextInput(attrs={"class": "vTextField"})}

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.errors:
            return data
        key, type_, choices = data.get("key") or self.instance.key, data["type"], data["choices"]
        try:
            data["choices"] = fields.check(key=key, type_=type_, choices=choices, is_new=not self.instance.pk)
            changed = self.instance.pk and (type_, data["choices"]) != (self.initial["type"], self.initial["choices"])
            if changed and not data.get("convert"):
                found = fields.fit(key, type_, data["choices"])
                if found.unfit or found.changes:
                    raise fields.DoesNotFit(found)
        except fields.FieldError as error:
            for name, message in error.errors.items():
                self.add_error(name if name in self.fields else None, message)
        return data


@admin.register(Field)
class FieldAdmin(admin.ModelAdmin):
    form = FieldForm
    list_display = ["label", "key", "kind", "used_by", "index", "unfit"]
    search_fields = ["key", "name"]
    change_form_template = "contacts/field_change_form.html"

    @admin.display(description=gettext_lazy("name"))
    def label(self, one: Field) -> str:
        return one.name or one.key

    @admin.display(description=gettext_lazy("type"))
    def kind(self, one: Field) -> str:
        return one.get_type_display()

    @admin.display(description=gettext_lazy("used by"))
    def used_by(self, one: Field) -> str:
        users = segments.users_of_field(one.key)
        return ", ".join(users[:3]) + ("…" if len(users) > 3 else "") or "–"

    @admin.display(description=gettext_lazy("index"))
    def index(self, one: Field) -> str:
        found = self.indexes.get(fieldindexes.name_of(one))
        if found is None or not found.is_valid:
            return "–"
        return _("%(size)d kB") % {"size": max(1, found.size // 1024)}

    @admin.display(description=gettext_lazy("did not fit"))
    def unfit(self, one: Any) -> str:
        return f"{one.unfit_count:,}" if one.unfit_count else "–"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Field]:
        return fields.counted()

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        # Once a page, not once a row.
        self.indexes = fieldindexes.found()
        return super().changelist_view(request, extra_context)

    def get_readonly_fields(self, request: HttpRequest, obj: Field | None = None) -> list[str]:
        return ["key"] if obj else []

    def get_fields(self, request: HttpRequest, obj: Field | None = None) -> Any:
        return ["name", "key", "type", *(["convert"] if obj else []), "choices"]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        one = kwargs.get("obj")
        if one is not None:
            context["users"] = segments.users_of_field(one.key)
            aside = one.unfit_values.select_related("contact").order_by("-told_at")[:_SHOWN]
            context["aside"] = [(each.contact, say_value(each.value)[:200], each.told_at) for each in aside]
        elif request.method == "GET" and (key := request.GET.get("key")):
            # Promoting a trait: how its values would fit the type that is proposed.
            try:
                type_ = request.GET.get("type", "text")
                fields.check(key=key, type_="text", choices=[], is_new=True)
                if type_ in dict(Field.TYPES) and type_ != "choice":
                    context["fit"] = fields.fit(key, type_)
            except fields.FieldError as error:
                messages.warning(request, str(error))
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Field, form: forms.ModelForm, change: bool) -> None:
        told, now = form.cleaned_data, timezone.now()
        if change:
            found = fields.change(
                obj, name=told["name"], type_=told["type"], choices=told["choices"], convert=told["convert"], now=now
            )
            obj.refresh_from_db()
        else:
            made, found = fields.create(
                key=told["key"], type_=told["type"], name=told["name"], choices=told["choices"], now=now
            )
            obj.__dict__.update(made.__dict__)
        if found is not None and found.people:
            messages.info(request, found.says())

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        # What was put aside goes back to its people; listing it helps nobody.
        users = [f"{one}: {user}" for one in objs for user in segments.users_of_field(one.key)]
        return [str(one) for one in objs], {}, set(), users

    def delete_model(self, request: HttpRequest, obj: Field) -> None:
        fields.remove(obj, now=timezone.now())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Field]) -> None:
        for one in queryset:
            fields.remove(one, now=timezone.now())


@admin.register(Trait)
class TraitAdmin(admin.ModelAdmin):
    """What clients tell of people and nobody described yet."""

    list_display = ["key", "people_count", "guess", "shown", "counted_at", "promote"]
    list_display_links = None
    search_fields = ["key"]
    sortable_by = ()
    change_list_template = "contacts/trait_change_list.html"

    @admin.display(description=gettext_lazy("people"))
    def people_count(self, trait: Trait) -> str:
        return f"{trait.people:,}"

    @admin.display(description=gettext_lazy("looks like"))
    def guess(self, trait: Trait) -> str:
        return str(dict(Field.TYPES)[fields.guessed_type(trait)])

    @admin.display(description=gettext_lazy("for example"))
    def shown(self, trait: Trait) -> str:
        return " · ".join(say_value(value)[:60] for value in trait.samples)

    @admin.display(description="")
    def promote(self, trait: Trait) -> str:
        asked = urlencode({"key": trait.key, "type": fields.guessed_type(trait)})
        return format_html(
            '<a class="button" href="{}?{}">{}</a>', reverse("admin:contacts_field_add"), asked, _("Make it a field")
        )

    def get_urls(self) -> list[Any]:
        counting = self.admin_site.admin_view(self.count_view)
        return [path("count/", counting, name="contacts_trait_count"), *super().get_urls()]

    def count_view(self, request: HttpRequest) -> HttpResponse:
        """Counts again, now."""
        if not request.user.has_perm("contacts.view_trait"):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        fields.count_traits(timezone.now())
        messages.success(request, _("Everybody's traits were counted."))
        return HttpResponseRedirect(reverse("admin:contacts_trait_changelist"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Trait | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Trait | None = None) -> bool:
        return False
