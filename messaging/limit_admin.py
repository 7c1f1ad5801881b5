"""The screen of sending limits, which also says which providers asked us to slow down."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from messaging.models import DomainLimit, Pace

_MOST_SHOWN = 5


@admin.register(DomainLimit)
class DomainLimitAdmin(admin.ModelAdmin):
    why_empty = _(
        "Providers take only so much mail from one sender, and less from one whom they do not know yet. A limit "
        "spreads mail over time: for instance 600 a minute to gmail.com and googlemail.com, 300 to seznam.cz, "
        "email.cz and post.cz, 200 to wp.pl and o2.pl. Transactional mail goes first."
    )
    list_display = ["name", "scope", "about", "per_minute", "per_hour", "per_day", "warm_up_from", "is_active"]
    fieldsets = [
        (None, {"fields": ["name", ("scope", "domains"), "is_active"]}),
        (_("How many mails"), {"fields": [("per_minute", "per_hour", "per_day"), ("at_once", "reserved")]}),
        (
            _("Warm-up of a new sender"),
            {
                "fields": [("warm_up_from", "warm_up_first", "warm_up_growth")],
                "description": _(
                    "The limit of a day begins small and grows, until it meets the limit of every day or two months "
                    "are over."
                ),
            },
        ),
    ]

    @admin.display(description=_("domains"))
    def about(self, limit: DomainLimit) -> str:
        return ", ".join(limit.domains)

    def changelist_view(self, request: HttpRequest, extra_context: dict | None = None) -> HttpResponse:
        if request.method == "GET":
            for pace in Pace.objects.order_by("-slowed_at")[:_MOST_SHOWN]:
                messages.info(
                    request,
                    gettext("%(provider)s asked us to slow down and gets %(number)d mails a minute for now: %(said)s")
                    % {"provider": pace.key, "number": pace.per_minute, "said": pace.said},
                )
        return super().changelist_view(request, extra_context)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """A new limit is on, unless the person says otherwise."""
        return {"is_active": True} | super().get_changeform_initial_data(request)
