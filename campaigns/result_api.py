"""The form in which results of journeys are answered."""

from rest_framework import serializers


class RateSerializer(serializers.Serializer):
    value = serializers.FloatField()
    low = serializers.FloatField()
    high = serializers.FloatField()


class DifferenceSerializer(serializers.Serializer):
    difference = serializers.FloatField()
    low = serializers.FloatField()
    high = serializers.FloatField()


class RatioSerializer(serializers.Serializer):
    probability = serializers.FloatField()
    is_even = serializers.BooleanField()


class ArmSerializer(serializers.Serializer):
    name = serializers.CharField()
    people = serializers.IntegerField()
    sent = serializers.IntegerField()
    opened = serializers.IntegerField()
    clicked = serializers.IntegerField()
    goals = serializers.IntegerField()
    buyers = serializers.IntegerField()
    revenue = serializers.FloatField()
    revenue_a_head = serializers.FloatField()
    rate = RateSerializer()


class PathSerializer(ArmSerializer):
    behind = DifferenceSerializer(allow_null=True)


class VerdictSerializer(serializers.Serializer):
    outcome = serializers.CharField()
    winner = serializers.CharField()
    decided_at = serializers.DateTimeField()
    decided_by = serializers.CharField()
    numbers = serializers.JSONField()


class SplitSerializer(serializers.Serializer):
    step = serializers.CharField()
    metric = serializers.CharField()
    leader = serializers.CharField()
    sure = serializers.FloatField()
    more_people = serializers.IntegerField()
    sample_ratio = RatioSerializer()
    sentence = serializers.CharField()
    verdict = VerdictSerializer(allow_null=True)
    paths = PathSerializer(many=True)


class ResultsSerializer(serializers.Serializer):
    journey = serializers.CharField()
    metric = serializers.CharField()
    currency = serializers.CharField()
    treated = ArmSerializer()
    held_out = ArmSerializer()
    lift = DifferenceSerializer(allow_null=True)
    sample_ratio = RatioSerializer(allow_null=True)
    sentence = serializers.CharField()
    splits = SplitSerializer(many=True)
