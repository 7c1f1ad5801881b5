"""The screens of routing: teams and the places in them, who is away, and “Test a lead”."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ActionForm
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.timezone import localtime
from django.utils.translation import gettext, ngettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from contacts.finding import find_contact
from contacts.models import Contact
from contacts.rule_widget import RuleField, RuleWidget
from contacts.rulefields import Vocabulary
from contacts.rulerows import in_words, why_not_asked
from leads.models import Absence, Lead, Rep, Team
from leads.routing import Place, away_now, places
from leads.trying import Routed, try_routing, try_values
from leads.working import SHORTEST_SLA, HoursError, check_holidays, parse_hours


class _Hours(forms.ModelForm):
    """Refuses working hours that nobody can read, with what is wrong in them."""

    def clean_hours(self) -> str:
        hours = " ".join(self.cleaned_data["hours"].split())
        try:
            parse_hours(hours)
        except HoursError as error:
            raise forms.ValidationError(str(error)) from None
        return hours


class TeamForm(_Hours):
    class Meta:
        field_classes = {"rule": RuleField}
        widgets = {
            "name": forms.TextInput(attrs={"class": "vTextField"}),
            "hours": forms.TextInput(attrs={"class": "vLargeTextField"}),
            "rule": RuleWidget(of="team"),
        }

    def clean_sla(self) -> timedelta | None:
        sla: timedelta | None = self.cleaned_data["sla"]
        if sla is not None and sla < SHORTEST_SLA:
            raise forms.ValidationError(gettext("An answer takes a minute at least."))
        return sla

    def clean_holidays(self) -> list[str]:
        try:
            return check_holidays(self.cleaned_data["holidays"])
        except HoursError as error:
            raise forms.ValidationError(str(error)) from None


class RepForm(_Hours):
    class Meta:
        field_classes = {"rule": RuleField}
        widgets = {
            "hours": forms.TextInput(attrs={"class": "vLargeTextField"}),
            "rule": RuleWidget(has_panel=False, of="rep"),
        }


class RepInline(admin.TabularInline):
    """Places at a glance; which leads each takes is written on the page of the place."""

    model = Rep
    form = RepForm
    extra = 0
    fields = ["user", "capacity", "hours", "takes"]
    readonly_fields = ["takes"]
    show_change_link = True
    verbose_name_plural = _("Sales reps")

    @admin.display(description=_("which leads"))
    def takes(self, rep: Rep) -> str:
        return taken_by(rep, Vocabulary()) if rep.pk else gettext("all of the team")


@admin.register(Team)
class TeamAdmin(admin.ModelAdmin):
    why_empty = _("A team takes leads by its rule, and gives them to its reps in turn. Without one, every rep claims.")
    form = TeamForm
    list_display = ["key", "name", "position", "who", "hours", "sla", "members"]
    fields = [("key", "name"), "position", "rule", "hours", "holidays", "sla"]
    inlines = [RepInline]
    change_list_template = "leads/team_change_list.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Team]:
        return super().get_queryset(request).prefetch_related("places__user")

    @admin.display(description=_("which leads"))
    def who(self, team: Team) -> str:
        if team.rule is None:
            return gettext("all that no other team takes")
        names = Vocabulary()
        return why_not_asked(team.rule, names) or in_words(team.rule, names)

    @admin.display(description=_("sales reps"))
    def members(self, team: Team) -> str:
        return ", ".join(named(rep.user) for rep in team.places.all()) or "–"

    def get_urls(self) -> list[Any]:
        return [path("test/", self.admin_site.admin_view(self.test_view), name="leads_team_test"), *super().get_urls()]

    def test_view(self, request: HttpRequest) -> HttpResponse:
        """Who would get this person as a lead, and why: a GET with `contact`, or with made-up values."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = TestForm(request.GET or None, user=request.user)
        found = form.answer() if form.is_bound and form.is_valid() else None
        context = {
            **self.admin_site.each_context(request),
            "opts": Team._meta,
            "title": gettext("Test a lead"),
            "form": form,
            "found": found,
            "contact": form.contact,
            "now": timezone.now(),
        }
        return TemplateResponse(request, "leads/team_test.html", context)


class TestForm(forms.Form):
    """Somebody to try routing with: one who is there, or made-up values."""

    contact_told = forms.CharField(label=_("Contact (address or number)"), required=False, max_length=300)
    country = forms.CharField(label=_("Country, such as CZ"), required=False, max_length=2)
    language = forms.CharField(label=_("Language, such as cs"), required=False, max_length=20)
    email = forms.CharField(label=_("E-mail"), required=False, max_length=300)
    job_title = forms.CharField(label=_("Job title"), required=False, max_length=300)
    made_up = ("country", "language", "email", "job_title")

    def __init__(self, data: Any = None, *, user: Any) -> None:
        super().__init__(data, label_suffix="")
        self.user = user
        self.contact: Contact | None = None

    def clean_contact_told(self) -> str:
        told = self.cleaned_data["contact_told"].strip()
        if told:
            try:
                found = find_contact(told)
            except Contact.DoesNotExist:
                found = None
            if found is None or not Contact.objects.visible_to(self.user).filter(pk=found.pk).exists():
                raise forms.ValidationError(gettext("There is no such contact."))
            self.contact = found
        return told

    def clean_country(self) -> str:
        return self.cleaned_data["country"].strip().upper()

    def answer(self) -> Routed:
        now = timezone.now()
        if self.contact is not None:
            return try_routing(self.contact, now)
        return try_values({name: self.cleaned_data[name] for name in self.made_up}, now)


class RepList(ChangeList):
    """A page of places, each as it stands now, read with a few looks for all."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        now, names = timezone.now(), Vocabulary()
        standing = places(now)
        found = {place.rep.pk: place for place in standing}
        ready = sorted(
            (place for place in standing if place.may_work and place.is_present and not place.is_full),
            key=lambda place: (place.rank(now), place.turn, place.rep.user_id),
        )
        nths: dict[int, int] = {}
        seen: dict[int, int] = {}
        for place in ready:
            seen[place.rep.team_id] = nths[place.rep.pk] = seen.get(place.rep.team_id, 0) + 1
        for rep in self.result_list:
            rep.place, rep.nth, rep.names, rep.asked_now = found.get(rep.pk), nths.get(rep.pk), names, now


@admin.register(Rep)
class RepAdmin(admin.ModelAdmin):
    """Who is in which team: the load of each, who is there, and whose turn it is."""

    why_empty = _("Put your sales reps into teams: each says which leads they take, how many, and when they work.")
    form = RepForm
    list_display = ["user_name", "team", "who", "load", "standing", "turn_now", "last_assigned_at"]
    list_filter = ["team"]
    list_select_related = ["user", "team"]
    search_fields = ["user__username", "user__first_name", "user__last_name"]
    fields = [("team", "user"), "rule", "capacity", "hours"]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RepList

    @admin.display(description=_("sales rep"), ordering="user__username")
    def user_name(self, rep: Rep) -> str:
        return named(rep.user)

    @admin.display(description=_("which leads"))
    def who(self, rep: Rep) -> str:
        return taken_by(rep, rep.names)  # type: ignore[attr-defined]

    @admin.display(description=_("in hand"))
    def load(self, rep: Rep) -> str:
        place = _place(rep)
        if place is None:
            return "–"
        if rep.capacity is None:
            return str(place.held)
        told = gettext("%(held)d of %(capacity)d") % {"held": place.held, "capacity": rep.capacity}
        return format_html('<span class="chip {}">{}</span>', "is-warn" if place.is_full else "", told)

    @admin.display(description=_("now"))
    def standing(self, rep: Rep) -> str:
        place = _place(rep)
        if place is None:
            return "–"
        css, told = _standing(place, rep.asked_now)  # type: ignore[attr-defined]
        return format_html('<span class="chip {}">{}</span>', css, told)

    @admin.display(description=_("turn"))
    def turn_now(self, rep: Rep) -> str:
        nth: int | None = rep.nth  # type: ignore[attr-defined]
        if nth is None:
            return "–"
        return gettext("next") if nth == 1 else f"{nth}."


def taken_by(rep: Rep, names: Vocabulary) -> str:
    """Which leads of the team, in words."""
    if rep.rule is None:
        return gettext("all of the team")
    return why_not_asked(rep.rule, names) or in_words(rep.rule, names)


def _place(rep: Rep) -> Place | None:
    return getattr(rep, "place", None)


def _standing(place: Place, now: Any) -> tuple[str, str]:
    """The colour and the words for where a rep is at this moment."""
    if not place.rep.user.is_active:
        return "is-bad", gettext("log-in deactivated")
    if not place.may_work:
        return "is-bad", gettext("may not work on leads")
    if until := place.calendar.away_until(now):
        return "is-warn", gettext("away until %(day)s") % {"day": date_format(until, "SHORT_DATE_FORMAT")}
    if place.at_work_from is None:
        return "is-bad", gettext("never at work")
    if place.at_work_from == now:
        return "is-good", gettext("at work")
    moment = date_format(localtime(place.at_work_from), "SHORT_DATETIME_FORMAT")
    return "", gettext("at work from %(moment)s") % {"moment": moment}


def named(user: Any) -> str:
    return user.get_full_name() or user.get_username()


@admin.register(Absence)
class AbsenceAdmin(admin.ModelAdmin):
    """Who is away when. Leads that such a rep has not accepted go to others when it begins."""

    why_empty = _("Enter holidays and days of illness here: nobody is given leads on such days, and no clock runs.")
    list_display = ["user_name", "first_day", "last_day", "reason", "standing"]
    list_filter = ["user"]
    list_select_related = ["user"]
    date_hierarchy = "first_day"
    fields = ["user", ("first_day", "last_day"), "reason"]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        kwargs.setdefault("widgets", {"reason": forms.TextInput(attrs={"class": "vTextField"})})
        return super().get_form(request, obj, change, **kwargs)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        # Why somebody is away may be a matter of health: it is for those who enter it.
        may_know = self.has_change_permission(request)
        return [name for name in self.list_display if name != "reason" or may_know]

    def get_fields(self, request: HttpRequest, obj: Absence | None = None) -> list[Any]:
        may_know = self.has_change_permission(request) or self.has_add_permission(request)
        return [name for name in self.fields or [] if name != "reason" or may_know]

    @admin.display(description=_("sales rep"), ordering="user__username")
    def user_name(self, absence: Absence) -> str:
        return named(absence.user)

    @admin.display(description=_("now"))
    def standing(self, absence: Absence) -> str:
        today = localtime(timezone.now()).date()
        if absence.first_day <= today <= absence.last_day:
            return format_html('<span class="chip is-warn">{}</span>', gettext("away"))
        left = (absence.first_day - today).days
        if left > 0:
            told = ngettext("in %(count)d day", "in %(count)d days", left) % {"count": left}
            return format_html('<span class="chip">{}</span>', told)
        return gettext("over")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user":
            kwargs["queryset"] = workers()
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


def workers() -> QuerySet[Any]:
    """Users who have a place in a team."""
    return get_user_model().objects.filter(places__isnull=False).distinct().order_by("username")


class HandOverForm(ActionForm):
    """To whom leads are handed over."""

    to = forms.ModelChoiceField(
        get_user_model().objects.none(), required=False, label=_("to"), empty_label=_("– whom? –")
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["to"]
        field.queryset = workers().filter(is_active=True)
        field.label_from_instance = named


class WaitingFilter(admin.SimpleListFilter):
    """What a lead manager looks for first."""

    title = _("what waits")
    parameter_name = "waits"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("nobody", pgettext_lazy("leads", "nobody's")),
            ("late", _("not answered in time")),
            ("away", _("with who is away or gone")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Lead]) -> QuerySet[Lead]:
        if self.value() == "nobody":
            return queryset.filter(state="open", owner=None, assigned_to=None)
        if self.value() == "late":
            return queryset.filter(state__in=["open", "claimed"], due_at__lte=timezone.now())
        if self.value() == "away":
            unfinished = queryset.filter(state__in=["open", "claimed", "accepted"])
            away = away_now(timezone.now())
            held = Q(owner__in=away) | Q(owner=None, assigned_to__in=away)
            gone = Q(owner__is_active=False) | Q(owner=None, assigned_to__is_active=False)
            return unfinished.filter(held | gone | Q(state__in=["claimed", "accepted"], owner=None))
        return queryset
