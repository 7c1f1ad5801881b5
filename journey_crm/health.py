"""`/health/`: whether the work gets done, in JSON; 503 when not. Cheap, and without secrets."""

from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Count
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from kombu import Connection
from kombu.exceptions import OperationalError as BrokerError

from contacts import segments, webhooks
from contacts.models import Contact, Heartbeat, StepCursor
from journey_crm.celery import app
from messaging import brake, nightly

# Work that was not done for so long is a problem. The scheduler rings every second, deliveries may take a while.
LATE = {
    "tick": timedelta(minutes=2),
    "scheduler": timedelta(minutes=1),
    "deliver": timedelta(minutes=15),
    "webhooks": timedelta(minutes=15),
}
QUEUES = ("tick", "celery", "webhooks")


@never_cache
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """What works, how long ago it last did, which steps fail and how much waits."""
    problems: list[str] = []
    answer = {"status": "ok", "problems": problems, **_database(problems), **_broker(problems)}
    if problems:
        answer["status"] = "failing"
    response = JsonResponse(answer, status=503 if problems else 200, json_dumps_params={"ensure_ascii": False})
    # Django would log every 503 as an error of ours, once for each look at this page.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def _database(problems: list[str]) -> dict:
    try:
        with connection.cursor() as cursor:
            # Of a database that is too busy to answer, health is told in seconds, too.
            cursor.execute("SELECT set_config('statement_timeout', '5s', false)")
        try:
            beats = dict(Heartbeat.objects.values_list("name", "beat_at"))
            outgoing = webhooks.counts(timezone.now())
            steps = list(StepCursor.objects.order_by("step").values("step", "position", "ran_at", "failed_at", "error"))
            frozen, broken = segments.problems(), segments.broken_rules()
            told = Contact.objects.of_unknown_zone().values_list("timezone").annotate(count=Count("pk"))
            findings, linted_at = nightly.open_counts(), nightly.last_round()
            held = brake.pulled()
            zones = dict(told.order_by("-count", "timezone")[:10])
        finally:
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', '0', false)")
    except DatabaseError as error:
        problems.append("The database does not answer.")
        return {"database": {"ok": False, "error": type(error).__name__}}
    now = timezone.now()
    ages = {name: round((now - moment).total_seconds(), 1) for name, moment in beats.items()}
    for name, late in LATE.items():
        if name not in beats:
            problems.append(f"{name}: has not worked yet.")
        elif now - beats[name] > late:
            problems.append(f"{name}: last worked {ages[name]:.0f} s ago.")
    failing = {}
    for step in steps:
        if step["error"]:
            # The first line names the error; the rest is for the log and the administrators.
            failing[step["step"]] = {"error": step["error"].splitlines()[0][:300], "failed_at": step["failed_at"]}
            problems.append(f"Step {step['step']} fails; the other steps go on.")
    return {
        "database": {"ok": True},
        "last_tick_seconds": ages.get("tick"),
        "worker_seconds": min(ages.values(), default=None),
        "scheduler_seconds": ages.get("scheduler"),
        "deliver_seconds": ages.get("deliver"),
        "steps": {step["step"]: {"position": step["position"], "ran_at": step["ran_at"]} for step in steps},
        "failing_steps": failing,
        # Each keeps the members that it has until somebody mends its rule; no reason to restart anything.
        "frozen_segments": frozen,
        # Each rule of a score, stage, offer or team that cannot be asked; what it gave before stays.
        "broken_rules": broken,
        # Time zones that people told and nobody knows, with how many: these live by the workspace's clock.
        "unknown_zones": zones,
        # What the linter has against live messages; a matter for marketers, and no illness either.
        "lint": {"errors": findings["error"], "warnings": findings["warning"], "linted_at": linted_at},
        # The complaint brake: a person must look, and nothing is to be restarted.
        "marketing_held_since": held.pulled_at if held else None,
        # Others' servers that fail are no illness of ours: told, but no problem.
        "webhooks": outgoing,
    }


def _broker(problems: list[str]) -> dict:
    try:
        with app.connection_for_read(
            transport_options={**settings.CELERY_BROKER_TRANSPORT_OPTIONS, **_IMPATIENT}
        ) as link:
            link.ensure_connection(max_retries=1, timeout=2, interval_start=0.1)
            return {"broker": {"ok": True}, "queues": {name: _depth(link, name) for name in QUEUES}}
    except (BrokerError, OSError, *app.connection_for_read().connection_errors) as error:
        problems.append("The broker does not answer.")
        return {"broker": {"ok": False, "error": type(error).__name__}, "queues": {}}


_IMPATIENT = {"socket_timeout": 2, "socket_connect_timeout": 2, "max_retries": 1}


def _depth(link: Connection, queue: str) -> int:
    """How many tasks wait; a queue that nobody has declared, or that is empty, holds none."""
    try:
        with link.channel() as channel:
            return channel.queue_declare(queue, passive=True).message_count
    except link.channel_errors:
        return 0
