"""REST resources of this app."""

from django.utils import timezone
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.response import Response

from contacts.contact_api import ResultSerializer
from contacts.models import Contact
from contacts.parameters import IdFilter
from contacts.rest import Resource
from growth.models import Offer, Order, OrderLine, Product
from growth.orders import MOST_ROWS, record_orders


class LineSerializer(serializers.ModelSerializer):
    product = serializers.CharField(source="product.key")

    class Meta:
        model = OrderLine
        fields = ["product", "quantity", "price"]


class OrderSerializer(serializers.ModelSerializer):
    """How an order looks; it is read and checked by `growth.orders`, which also takes user_id or email."""

    lines = LineSerializer(many=True, required=False)

    class Meta:
        model = Order
        fields = ["id", "number", "contact", "state", "total", "currency", "placed_at", "created_at", "lines"]
        read_only_fields = ["id", "created_at"]


class OrderFilters(filters.FilterSet):
    contact = IdFilter(field_name="contact_id")
    number = filters.CharFilter()
    state = filters.ChoiceFilter(choices=Order.STATES)
    placed_after = filters.IsoDateTimeFilter(field_name="placed_at", lookup_expr="gt")

    class Meta:
        model = Order
        fields: list[str] = []


class Orders(ListModelMixin, RetrieveModelMixin, Resource):
    """Purchases. A POST makes one order; `bulk` makes or changes up to 10,000 by their numbers."""

    needs = {
        "list": "read growth.view_order",
        "retrieve": "read growth.view_order",
        "create": "sync growth.add_order",
        "bulk": "sync growth.add_order growth.change_order",
    }
    orderings = {"id": ("id",), "-id": ("-id",), "-placed_at": ("-placed_at", "-id")}
    filterset_class = OrderFilters
    serializer_class = OrderSerializer
    queryset = Order.objects.none()
    lookup_value_regex = "[0-9]{1,18}"

    def get_queryset(self):
        visible = Contact.objects.visible_to(self.request.user)
        return Order.objects.filter(contact__in=visible.values("pk")).prefetch_related("lines__product")

    def create(self, request):
        [result] = self._record([request.data])
        if result["errors"]:
            raise ValidationError({one["field"] or "non_field_errors": one["message"] for one in result["errors"]})
        order = Order.objects.get(pk=result["id"])
        if result["status"] == "updated":
            return Response(self.represent(order))
        return Response(self.represent(order), status=201 if result["status"] == "created" else 200)

    @extend_schema(request=OrderSerializer(many=True), responses=ResultSerializer(many=True), filters=False)
    @action(detail=False, methods=["post"], pagination_class=None)
    def bulk(self, request):
        """Makes or changes orders by their number; one result a row."""
        if not isinstance(request.data, list):
            raise ValidationError(_("The body must be a list of orders."))
        if len(request.data) > MOST_ROWS:
            raise ValidationError(_("A request may have at most %(most)s rows.") % {"most": MOST_ROWS})
        return Response(self._record(request.data))

    def _record(self, rows):
        return record_orders(rows, source=self.source("rest"), now=timezone.now())


class ProductFilters(filters.FilterSet):
    category = filters.CharFilter()
    is_active = filters.BooleanFilter()

    class Meta:
        model = Product
        fields: list[str] = []


class ProductSerializer(serializers.ModelSerializer):
    url = serializers.CharField(read_only=True, help_text="its page; may be empty")

    class Meta:
        model = Product
        fields = ["id", "key", "name", "category", "price", "currency", "url", "is_active"]
        read_only_fields = fields


class Products(ListModelMixin, RetrieveModelMixin, Resource):
    needs = {"list": "read growth.view_product", "retrieve": "read growth.view_product"}
    filterset_class = ProductFilters
    serializer_class = ProductSerializer
    queryset = Product.objects.all()
    lookup_field = "key"


class OfferSerializer(serializers.ModelSerializer):
    products = serializers.SlugRelatedField(slug_field="key", many=True, read_only=True)

    class Meta:
        model = Offer
        fields = [
            "id", "key", "name", "products", "audience", "excludes", "group", "priority", "coupons", "cooldown",
            "holdout", "valid_from", "valid_until", "is_active",
        ]  # fmt: skip
        read_only_fields = fields


class Offers(ListModelMixin, RetrieveModelMixin, Resource):
    needs = {"list": "read growth.view_offer", "retrieve": "read growth.view_offer"}
    serializer_class = OfferSerializer
    queryset = Offer.objects.prefetch_related("products")
    lookup_field = "key"


ROUTES: dict[str, type] = {"orders": Orders, "products": Products, "offers": Offers}
