"""REST: custom fields, how the values that people have would fit a type, and the traits that could become fields."""

from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.response import Response

from contacts import fieldindexes, fields
from contacts.models import Field, Trait
from contacts.problems import Conflict
from contacts.rest import Resource, StrictSerializer


class FieldSerializer(StrictSerializer, serializers.ModelSerializer):
    key = serializers.CharField(max_length=64)
    name = serializers.CharField(max_length=200, allow_blank=True, required=False)
    choices = serializers.ListField(
        child=serializers.JSONField(), required=False, help_text="of a choice: texts, or objects with key and label"
    )
    convert = serializers.BooleanField(
        write_only=True,
        required=False,
        help_text="with another type or other choices: convert the values there are, and put aside what does not fit",
    )
    unfit_values = serializers.IntegerField(
        source="unfit_count", read_only=True, help_text="how many people were told a value that is none of this type"
    )
    is_indexed = serializers.SerializerMethodField(help_text="fields that rules ask about are")

    class Meta:
        model = Field
        fields = ["key", "name", "type", "choices", "unfit_values", "is_indexed", "convert"]

    def get_is_indexed(self, one: Field) -> bool:
        if "field_indexes" not in self.context:
            self.context["field_indexes"] = fieldindexes.found()
        return fieldindexes.name_of(one) in self.context["field_indexes"]


class FitQuestionSerializer(StrictSerializer, serializers.Serializer):
    type = serializers.ChoiceField(choices=[key for key, _label in Field.TYPES])
    choices = serializers.ListField(child=serializers.JSONField(), required=False)


class FitSerializer(serializers.Serializer):
    people = serializers.IntegerField(help_text="how many have a value")
    fits = serializers.IntegerField(help_text="how many of these are of that type")
    changes = serializers.IntegerField(help_text="how many of those would be written in another form")
    unfit = serializers.IntegerField(help_text="how many would be put aside")
    samples = serializers.ListField(child=serializers.JSONField(), help_text="some that would be put aside")


class TraitSerializer(serializers.ModelSerializer):
    guess = serializers.SerializerMethodField(help_text="the type that nearly all values have")

    class Meta:
        model = Trait
        fields = ["key", "people", "types", "samples", "guess", "counted_at"]
        read_only_fields = fields

    def get_guess(self, trait: Trait) -> str:
        return fields.guessed_type(trait)


class Fields(ListModelMixin, RetrieveModelMixin, Resource):
    """Custom fields of contacts. The key of one never changes."""

    needs = {
        "list": "read contacts.view_field",
        "retrieve": "read contacts.view_field",
        "create": "admin contacts.add_field",
        "update": "admin contacts.change_field",
        "partial_update": "admin contacts.change_field",
        "destroy": "admin contacts.delete_field",
        "fit": "read contacts.view_field contacts.view_contact",
        "traits": "read contacts.view_field contacts.view_contact",
    }
    serializer_class = FieldSerializer
    queryset = Field.objects.all()
    lookup_field = "key"
    lookup_value_regex = "[A-Za-z0-9_-]{1,64}"

    def get_queryset(self):
        return fields.counted()

    def create(self, request):
        """What people have under the key already is brought into the form of its type, or put aside."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        told = serializer.validated_data
        try:
            one, _fit = fields.create(
                key=told["key"],
                type_=told.get("type", "text"),
                name=told.get("name", ""),
                choices=told.get("choices", []),
                now=timezone.now(),
            )
        except fields.FieldError as error:
            raise ValidationError(error.errors) from None
        return Response(self.get_serializer(fields.counted().get(pk=one.pk)).data, status=201)

    def update(self, request, key):
        """PUT is as PATCH: an omitted field is not an empty one. A type that does not fit needs `convert`."""
        one = self.get_object()
        self.check_match(one)
        serializer = self.get_serializer(one, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        told = dict(serializer.validated_data)
        if told.get("key", one.key) != one.key:
            raise ValidationError({"key": _("A key never changes; make another field.")})
        try:
            fields.change(
                one,
                name=told.get("name"),
                type_=told.get("type"),
                choices=told.get("choices"),
                convert=told.get("convert", False),
                now=timezone.now(),
            )
        except fields.FieldError as error:
            raise ValidationError(error.errors) from None
        return Response(self.get_serializer(self.get_object()).data)

    def partial_update(self, request, key):
        """An omitted field stays. A type that does not fit needs `convert`."""
        return self.update(request, key)

    def destroy(self, request, key):
        """Its values stay with the people, as a trait that is no field. Refused where somebody asks about it."""
        one = self.get_object()
        self.check_match(one)
        try:
            fields.remove(one, now=timezone.now())
        except fields.InUse as error:
            raise Conflict(str(error)) from None
        return Response(status=204)

    @extend_schema(request=FitQuestionSerializer, responses=FitSerializer, filters=False)
    @action(detail=True, methods=["post"], pagination_class=None)
    def fit(self, request, key):
        """How the values under a key, of a field or of a trait, would fit a type. Nothing is changed."""
        serializer = FitQuestionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        told = serializer.validated_data
        try:
            tidy = fields.check(key=key, type_=told["type"], choices=told.get("choices", []), is_new=False)
        except fields.FieldError as error:
            raise ValidationError(error.errors) from None
        found = fields.fit(key, told["type"], tidy)
        return Response(FitSerializer(found).data)

    @extend_schema(responses=TraitSerializer(many=True), filters=False)
    @action(detail=False, pagination_class=None)
    def traits(self, request):
        """The traits that no field describes, as they were last counted."""
        return Response(TraitSerializer(Trait.objects.all(), many=True).data)
