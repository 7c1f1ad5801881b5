"""Query parameters that several resources take."""

from typing import Any

from django import forms
from django_filters import rest_framework as filters


class IdFilter(filters.NumberFilter):
    """A row's number: a whole one, such as PostgreSQL may have given out."""

    field_class = forms.IntegerField

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, min_value=1, max_value=2**63 - 1, **kwargs)
