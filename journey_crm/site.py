"""The admin site: navigation by job over Django's admin.

`NAVIGATION` is the one list of what stands on the left. An entry names a model (`app_label.Model`) or an address.
Entries whose model is not registered, whose address does not exist or that the user may not see are left out;
a registered model that no entry names appears under Settings › More, so nothing gets lost.
"""

from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, Resolver404, path, resolve, reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from journey_crm import home
from journey_crm.login import GuardedLogin
from messaging import consistency


@dataclass(frozen=True)
class Entry:
    """One line of the navigation: a model's list, or an address (a path, or the name of a URL)."""

    label: str | Promise
    icon: str
    model: str = ""
    address: str = ""
    permission: str = ""  # who may see an address; a model asks its ModelAdmin


@dataclass(frozen=True)
class Section:
    label: str | Promise
    entries: tuple[Entry, ...]
    is_folded: bool = False  # shut until one of its entries is the current one


@dataclass
class Link:
    label: str
    url: str
    icon: str
    is_current: bool = False
    count: int | None = None


@dataclass
class Group:
    """A section as one user sees it on one page."""

    label: str
    links: list[Link] = field(default_factory=list)
    more: list[Link] = field(default_factory=list)
    is_folded: bool = False

    @property
    def is_open(self) -> bool:
        return not self.is_folded or any(link.is_current for link in (*self.links, *self.more))


NAVIGATION = (
    Section(
        pgettext_lazy("navigation", "Engage"),
        (
            Entry(_("Nurture tracks"), "route", model="campaigns.NurtureTrack"),
            Entry(_("Onboarding sequences"), "flag", model="campaigns.OnboardingSequence"),
            Entry(_("Cross-sell campaigns"), "cart", model="campaigns.CrossSellCampaign"),
            Entry(_("Broadcasts"), "megaphone", model="campaigns.Broadcast"),
            Entry(_("Event follow-ups"), "calendar", model="campaigns.FollowUp"),
            Entry(_("Win-backs"), "heart", model="campaigns.WinBack"),
            Entry(_("Offers"), "tag", model="growth.Offer"),
            Entry(_("Templates"), "mail", model="messaging.Template"),
            Entry(_("Reusable blocks"), "copy", model="messaging.ReusableBlock"),
            Entry(_("Sent mail"), "send", model="messaging.Message"),
            Entry(
                _("Consistency"),
                "check",
                address="admin:messaging_consistency",
                permission="messaging.view_lintfinding",
            ),
            Entry(_("Clicks and opens"), "eye", model="messaging.Hit"),
        ),
    ),
    Section(
        pgettext_lazy("navigation", "Understand"),
        (
            Entry(_("Insights"), "chart", address="insights:index", permission="contacts.view_touchpoint"),
            Entry(
                _("Stages in time"),
                "steps",
                address="admin:scoring_stagechange_velocity",
                permission="scoring.view_stagechange",
            ),
            Entry(_("Contacts"), "person", model="contacts.Contact"),
            Entry(_("Companies"), "building", model="contacts.Company"),
            Entry(_("Merges"), "merge", model="contacts.Merge"),
            Entry(_("Segments"), "people", model="contacts.Segment"),
            Entry(_("Imports"), "upload", model="contacts.Import"),
            Entry(_("Scores"), "gauge", model="scoring.ScoreModel"),
            Entry(_("Grades"), "star", model="scoring.GradeMatrix"),
            Entry(_("Prediction"), "flask", model="scoring.PredictionModel"),
            Entry(_("Touchpoints"), "pulse", model="contacts.Touchpoint"),
        ),
    ),
    Section(
        pgettext_lazy("navigation", "Sales"),
        (
            Entry(_("Lead inbox"), "inbox", address="/sales/", permission="leads.work_lead"),
            Entry(_("Tasks"), "check", address="/sales/tasks/", permission="leads.work_lead"),
            Entry(_("Alerts"), "bell", address="/sales/alerts/", permission="leads.work_lead"),
            Entry(_("All leads"), "list", model="leads.Lead"),
            Entry(_("Closed loop"), "chart", address="closed-loop", permission="leads.view_lead"),
            Entry(_("All tasks"), "list", model="leads.Task"),
            Entry(_("Sales reps"), "people", model="leads.Rep"),
            Entry(_("Absences"), "calendar", model="leads.Absence"),
            Entry(_("Products"), "box", model="growth.Product"),
            Entry(_("Orders"), "receipt", model="growth.Order"),
        ),
    ),
    Section(
        pgettext_lazy("navigation", "Settings"),
        (
            Entry(_("Brands"), "palette", model="messaging.Brand"),
            Entry(_("Campaign parameters"), "link", model="messaging.UtmRules"),
            Entry(_("Topics"), "bell", model="messaging.Topic"),
            Entry(_("Sending policy"), "clock", model="messaging.SendingPolicy"),
            Entry(_("Suppressed addresses"), "ban", model="messaging.Suppression"),
            Entry(_("Dead letters"), "inbox", model="messaging.ReturnedMail"),
            Entry(_("Complaint brake"), "pause", model="messaging.Brake"),
            Entry(_("Sending limits"), "clock", model="messaging.DomainLimit"),
            Entry(_("Consent centre"), "shield", model="contacts.ConsentChange"),
            Entry(_("Sign-up forms"), "list", model="messaging.SignupForm"),
            Entry(_("Retention"), "box", model="contacts.RetentionRule"),
            Entry(_("Erasures"), "ban", model="contacts.Erasure"),
            Entry(_("Lifecycle stages"), "steps", model="scoring.StageRule"),
            Entry(_("Contact fields"), "sliders", model="contacts.Field"),
            Entry(_("Unregistered traits"), "sliders", model="contacts.Trait"),
            Entry(_("Sales teams"), "people", model="leads.Team"),
            Entry(_("API tokens"), "key", model="contacts.ApiToken"),
            Entry(_("Webhooks"), "webhook", model="contacts.Webhook"),
            Entry(_("Users"), "person", model="auth.User"),
            Entry(_("User groups"), "shield", model="auth.Group"),
            Entry(_("Health"), "heart", address="/health/", permission="staff"),
        ),
        is_folded=True,
    ),
)

SALES = "/sales/"


class JourneyAdminSite(AdminSite):
    site_title = _("Journey CRM")
    site_header = _("Journey CRM")
    index_title = _("Home")
    enable_nav_sidebar = False  # ours replaces it
    login_form = GuardedLogin  # sales reps log in here too, without being staff

    def navigation(self, request: HttpRequest) -> list[Group]:
        """What the user may open, grouped by job; the entry of the current page is marked."""
        models = {model._meta.label: admin for model, admin in self._registry.items()}
        named = {entry.model for section in NAVIGATION for entry in section.entries}
        groups = []
        for section in NAVIGATION:
            group = Group(str(section.label), is_folded=section.is_folded)
            for entry in section.entries:
                if url := self._url(request, entry, models):
                    group.links.append(Link(str(entry.label), url, entry.icon))
            groups.append(group)
        groups[-1].more = sorted(
            (
                Link(str(capfirst(model._meta.verbose_name_plural)), self._list_url(model), "dot")
                for model, admin in self._registry.items()
                if model._meta.label not in named and admin.has_view_or_change_permission(request)
            ),
            key=lambda link: link.label,
        )
        links = [link for group in groups for link in (*group.links, *group.more)]
        here = [link for link in links if request.path.startswith(link.url)]
        if here:
            max(here, key=lambda link: len(link.url)).is_current = True
        return [group for group in groups if group.links or group.more]

    def _url(self, request: HttpRequest, entry: Entry, models: dict) -> str:
        """The entry's address, or "" where it does not exist or is not for this user."""
        if entry.model:
            admin = models.get(entry.model)
            return self._list_url(admin.model) if admin and admin.has_view_or_change_permission(request) else ""
        user = request.user
        if not (user.is_staff if entry.permission == "staff" else user.has_perm(entry.permission)):
            return ""
        try:
            if not entry.address.startswith("/"):
                return reverse(entry.address)
            resolve(entry.address)
        except (NoReverseMatch, Resolver404):
            return ""
        return entry.address

    def _list_url(self, model: type[Model]) -> str:
        return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist", current_app=self.name)

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Every page of the admin is asked without NUL: it stands in nothing that PostgreSQL keeps, nor in a filter."""

        @wraps(view)
        def asked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if any("\0" in value for _name, values in request.GET.lists() for value in values):
                given = request.GET.copy()
                for name, values in request.GET.lists():
                    given.setlist(name, [value.replace("\0", "") for value in values])
                request.GET = given  # type: ignore[assignment]
            return view(request, *args, **kwargs)

        return super().admin_view(asked, cacheable)

    def get_urls(self) -> list:
        # Django lets only staff log out and change their password; a rep who is not staff must be able to as well.
        return [
            path("logout/", self.logout, name="logout"),
            path("password_change/", login_required(self.password_change), name="password_change"),
            path("password_change/done/", login_required(self.password_change_done), name="password_change_done"),
            # Of no model: it is about all live messages together.
            path("messaging/consistency/", self.admin_view(consistency.page), name="messaging_consistency"),
            path("messaging/consistency/look/", self.admin_view(consistency.look), name="messaging_look_again"),
            path("messaging/consistency/<int:pk>/mute/", self.admin_view(consistency.mute), name="messaging_mute"),
            path(
                "messaging/consistency/<int:pk>/unmute/", self.admin_view(consistency.unmute), name="messaging_unmute"
            ),
            *super().get_urls(),
        ]

    def login(self, request: HttpRequest, extra_context: dict | None = None) -> HttpResponse:
        """Log in; who is not staff goes on to the sales workspace instead of the admin's home."""
        asked = request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME) or ""
        for_admin = not asked or asked.startswith(reverse("admin:index", current_app=self.name))
        user = request.user
        if request.method == "GET" and for_admin and user.is_authenticated and self._belongs_to_sales(user):
            return HttpResponseRedirect(SALES)
        response = super().login(request, extra_context)
        if response.status_code == 302 and for_admin and self._belongs_to_sales(request.user):
            return HttpResponseRedirect(SALES)
        return response

    def _belongs_to_sales(self, user: AbstractUser | AnonymousUser) -> bool:
        return not user.is_staff and user.has_perm("leads.work_lead")

    def index(self, request: HttpRequest, extra_context: dict | None = None) -> TemplateResponse:
        return super().index(request, {"home": home.today(request.user, timezone.now()), **(extra_context or {})})
