"""Who clicked what: the pages of a journey and of an occasion of a broadcast, over messaging's report."""

from datetime import timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone

from campaigns.models import Journey, Sendout
from contacts.sql import Fragment
from messaging.click_admin import days_of, report_page
from messaging.clicks import Scope


def scope_of(occasion: Sendout) -> Scope:
    """All that people did with the messages of an occasion, whenever they did it."""
    own = (
        "h.journey_key = %(scope_journey)s AND EXISTS ("
        "SELECT FROM campaigns_enrolment e WHERE e.id = m.enrolment_id AND e.sendout_id = %(scope_occasion)s)"
    )
    since = (occasion.snapshot_at or occasion.starts_at) - timedelta(days=1)
    return Scope(Fragment(own, {"scope_journey": occasion.journey.key, "scope_occasion": occasion.pk}), since)


class ClickPages:
    """A view of `JourneyAdmin`, which has what it stands on."""

    opts: Any
    _url: Any
    get_queryset: Any
    has_view_or_change_permission: Any

    def clicks_view(self, request: HttpRequest, journey_id: int) -> HttpResponse:
        """Of all mail of a journey, or with `occasion` of one of a broadcast's."""
        journey: Journey = get_object_or_404(self.get_queryset(request), pk=journey_id)
        if not self.has_view_or_change_permission(request, journey):
            raise PermissionDenied
        back = [(self._url("change", journey), str(journey))]
        if asked := request.GET.get("occasion"):
            if not (asked.isascii() and asked.isdecimal() and len(asked) < 19):
                raise Http404
            occasion = get_object_or_404(journey.sendouts.select_related("journey"), pk=asked)
            title = f"{journey} · {occasion.key}"
            return report_page(request, scope_of(occasion), title=title, back=back, periods=[])
        since = timezone.now() - timedelta(days=days_of(request))
        return report_page(request, Scope.of_journey(journey.key, since), title=str(journey), back=back)
