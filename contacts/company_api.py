"""REST: companies, their people, and two that are one."""

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin, UpdateModelMixin
from rest_framework.response import Response

from contacts import companies, segments
from contacts.contact_api import ContactSerializer, page_of
from contacts.identity import FREE_MAIL, normalise_domain
from contacts.models import Company, Contact
from contacts.rest import Resource, StrictSerializer


class CompanyFilters(filters.FilterSet):
    domain = filters.CharFilter(method="by_domain")
    country = filters.CharFilter()
    updated_after = filters.IsoDateTimeFilter(field_name="updated_at", lookup_expr="gt")

    class Meta:
        model = Company
        fields: list[str] = []

    def by_domain(self, queryset, name, value):
        try:
            return queryset.filter(domain=normalise_domain(value))
        except ValueError as error:
            raise ValidationError({"domain": str(error)}) from None


class CompanySerializer(StrictSerializer, serializers.ModelSerializer):
    class Meta:
        model = Company
        fields = [
            "id", "name", "domain", "country", "employees", "industry", "attributes", "created_at", "updated_at",
        ]  # fmt: skip
        read_only_fields = ["id", "created_at", "updated_at"]

    def validate_domain(self, value):
        try:
            domain = normalise_domain(value or "")
        except ValueError as error:
            raise ValidationError(str(error)) from None
        if domain in FREE_MAIL:
            raise ValidationError(_("At this domain everybody may have an address; it is no company's."))
        same = Company.objects.filter(domain=domain or None).exclude(pk=self.instance and self.instance.pk).first()
        if same:
            raise ValidationError(_("Company %(id)s has this domain.") % {"id": same.merged_into_id or same.pk})
        return domain or None

    def validate_attributes(self, value):
        if not isinstance(value, dict):
            raise ValidationError(_("This must be an object."))
        return value


class CompanyMergeSerializer(serializers.Serializer):
    other = serializers.IntegerField(min_value=1, help_text="the company that becomes part of this one")


class Companies(ListModelMixin, RetrieveModelMixin, UpdateModelMixin, Resource):
    """Companies. One that was merged into another is not in the list; its id leads to what it became."""

    needs = {
        "list": "read contacts.view_company",
        "retrieve": "read contacts.view_company",
        "create": "sync contacts.add_company",
        "update": "sync contacts.change_company",
        "partial_update": "sync contacts.change_company",
        "contacts": "read contacts.view_company",
        "merge": "admin contacts.change_company contacts.delete_company",
    }
    orderings = {"id": ("id",), "-updated_at": ("-updated_at", "-id")}
    parameters = {"contacts": ("cursor", "limit", "ordering")}
    filterset_class = CompanyFilters
    serializer_class = CompanySerializer
    queryset = Company.objects.filter(merged_into=None)
    lookup_value_regex = "[0-9]{1,18}"

    def get_object(self) -> Company:
        into = Company.objects.filter(pk=self.kwargs["pk"], merged_into__isnull=False).values_list("merged_into")
        self.kwargs["pk"] = next((pk for (pk,) in into), self.kwargs["pk"])
        return super().get_object()

    def create(self, request):
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        serializer.save()
        return Response(serializer.data, status=201)

    def update(self, request, *args, **kwargs):
        """PUT is as PATCH: an omitted field is not an empty one."""
        return super().update(request, *args, **{**kwargs, "partial": True})

    def perform_update(self, serializer):
        self.check_match(serializer.instance)
        before = self.represent(serializer.instance)
        changed = [name for name, value in serializer.validated_data.items() if before[name] != value]
        if not changed:
            return
        more = {"is_joined": False} if "domain" in changed else {}
        serializer.save(updated_at=timezone.now(), **more)
        # No single contact tells of it, so segments that ask about companies look again.
        segments.ask_again_readers_of("company.")

    @extend_schema(responses=ContactSerializer(many=True), filters=False)
    @action(detail=True)
    def contacts(self, request, pk):
        """The people of a company whom this user may see."""
        self.orderings = {"id": ("id",), "-updated_at": ("-updated_at", "-id")}
        people = Contact.objects.living().visible_to(request.user).filter(company=self.get_object())
        return page_of(self, people)

    @extend_schema(request=CompanyMergeSerializer, responses=CompanySerializer)
    @action(detail=True, methods=["post"])
    @transaction.atomic
    def merge(self, request, pk):
        """Makes `other` part of this company: its people move, its name and domain lead here. This cannot be undone."""
        serializer = CompanyMergeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        company = self.get_object()
        other = self.get_queryset().filter(pk=serializer.validated_data["other"]).first()
        if other is None:
            raise ValidationError({"other": _("There is no such company.")})
        try:
            company = companies.merge_companies(
                survivor=company, loser=other, now=timezone.now(), source=self.source("rest")
            )
        except ValueError as error:
            raise ValidationError({"other": str(error)}) from None
        return Response(self.represent(company))
