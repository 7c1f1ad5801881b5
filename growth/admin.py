"""The screens of products, orders and offers."""

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.forms import ModelForm
from django.utils.translation import gettext_lazy as _

from contacts.rulefields import Vocabulary
from contacts.rulerows import why_not_asked
from contacts.rules import RuleError, parse
from contacts.searching import EstimatingPaginator
from growth.models import Offer, Order, OrderLine, Product


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ["name", "key", "category", "price", "currency", "is_active"]
    list_filter = ["is_active"]
    search_fields = ["name", "key"]
    prepopulated_fields = {"key": ["name"]}


class OrderLineInline(admin.TabularInline):
    model = OrderLine
    extra = 0
    autocomplete_fields = ["product"]


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    """Orders come from the shop, by REST or by file; here they are looked at."""

    list_display = ["number", "contact", "state", "total", "currency", "placed_at"]
    list_filter = ["state"]
    list_select_related = ["contact"]
    search_fields = ["number"]
    search_help_text = _("The number of the order")
    inlines = [OrderLineInline]
    ordering = ["-pk"]
    sortable_by = ()
    paginator = EstimatingPaginator
    show_full_result_count = False
    autocomplete_fields = ["contact"]

    def has_add_permission(self, request) -> bool:
        return False

    def has_change_permission(self, request, obj=None) -> bool:
        return False


class OfferForm(ModelForm):
    class Meta:
        model = Offer
        fields = [
            "name", "key", "products", "audience", "excludes", "group", "priority", "coupons", "cooldown", "holdout",
            "valid_from", "valid_until", "is_active",
        ]  # fmt: skip

    def clean_audience(self):
        audience = self.cleaned_data["audience"]
        if audience is not None:
            _check(audience)
        return audience

    def clean_excludes(self):
        excludes = self.cleaned_data["excludes"]
        if not isinstance(excludes, list):
            raise ValidationError(_("This must be a list of rules."))
        for rule in excludes:
            _check(rule)
        return excludes


def _check(rule) -> None:
    try:
        parse(rule)
    except RuleError as error:
        raise ValidationError(str(error)) from None


@admin.register(Offer)
class OfferAdmin(admin.ModelAdmin):
    form = OfferForm
    list_display = ["__str__", "group", "priority", "valid_from", "valid_until", "is_active", "problem"]
    list_filter = ["is_active"]
    search_fields = ["name", "key"]
    prepopulated_fields = {"key": ["name"]}
    filter_horizontal = ["products"]

    @admin.display(description=_("problem"))
    def problem(self, offer):
        names = Vocabulary()
        asked = ([] if offer.audience is None else [offer.audience]) + offer.excludes
        return next((mark for rule in asked if (mark := why_not_asked(rule, names))), "–")
