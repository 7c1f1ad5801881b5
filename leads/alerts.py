"""Hot leads: sales is told once for each crossing of a score, by a mail to whoever it concerns and by webhooks.

A lead is hot when its person's score crosses its line upwards, and when it comes into being. What happens to the lead
afterwards, a fall of the score or a new rep, tells nobody again.
"""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet

from contacts.models import Touchpoint
from contacts.sql import load
from contacts.wire import dumps
from leads import presence
from leads.models import AlertPreference, Rep

SQL = load(__file__)

# Whoever got so many of these mails in the last hour gets the next ones together, a quarter of an hour later.
MOST_AN_HOUR, PAUSE = 10, timedelta(minutes=15)


def hot(now: datetime, after: int, upto: int) -> int:
    """The tick's step: tells of the leads that became hot in the window, once each. Counts them."""
    told = Touchpoint.objects.filter(
        Q(kind="lead.qualified") | Q(kind="score.crossed", properties__direction="up"),
        source="journey", id__gt=after, id__lte=upto,
    )  # fmt: skip
    if not told.exists():
        return 0
    return SQL["tell_hot"].run(
        now=now, after=after, upto=upto, people=dumps(_people(now)).decode(), site=settings.BASE_URL
    )


def workers() -> QuerySet[Any]:
    """Active users with a mail address who work on leads or see all of them."""
    users = get_user_model().objects
    may = [users.with_perm(f"leads.{codename}").values("pk") for codename in ("work_lead", "view_lead")]
    return users.filter(Q(pk__in=may[0]) | Q(pk__in=may[1])).exclude(email="").order_by("pk")


def preference_of(user: Any) -> AlertPreference:
    """What a user wants to be told; the usual, unsaved, where he never said."""
    try:
        return user.alert_preference
    except AlertPreference.DoesNotExist:
        return AlertPreference(user=user, language=settings.LANGUAGE_CODE)


def _people(now: datetime) -> list[dict[str, Any]]:
    """Who wants to be told at once, of what, and from when: at night the mail waits until work begins."""
    preferences = {user: preference_of(user) for user in workers().select_related("alert_preference")}
    wanting = [user for user, preference in preferences.items() if preference.hot == "now"]
    teams: dict[int, list[int]] = {}
    for user, team in Rep.objects.filter(user__in=wanting).order_by("pk").values_list("user_id", "team_id"):
        teams.setdefault(user, []).append(team)
    working = presence.calendars(wanting, now)
    full = dict(SQL["full_hours"].rows(since=now - timedelta(hours=1), most=MOST_AN_HOUR))
    people = []
    for user in wanting:
        due_at = now if preferences[user].at_night else working[user.pk].at_work_from(now)
        if due_at is None:
            continue
        if user.pk in full:
            due_at = max(due_at, full[user.pk] + PAUSE)
        people.append(
            {
                "id": user.pk,
                "teams": teams.get(user.pk, []),
                "is_for_all": preferences[user].is_for_all,
                "due_at": due_at,
            }
        )
    return people
