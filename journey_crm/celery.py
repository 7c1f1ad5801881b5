"""Celery is an alarm clock and a crowd of hands: its tasks carry no data and find their work in PostgreSQL."""

import os
import signal

from celery import Celery
from celery.signals import worker_process_init

from journey_crm.embedded.processes import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "journey_crm.settings")

app = Celery("journey_crm")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["journey_crm"])
# The tick has a queue of its own, so that nothing long ever stands before it; webhooks, so that others' slow servers
# stand before nothing of ours. Everything else takes the default queue.
app.conf.task_routes = {
    "journey_crm.tasks.tick": {"queue": "tick"},
    "journey_crm.tasks.deliver_webhooks": {"queue": "webhooks"},
}
# Intervals restart at every deploy, so nothing here may be longer than a minute; every entry expires, so none piles up.
app.conf.beat_schedule = {
    "tick": {"task": "journey_crm.tasks.tick", "schedule": 1.0, "options": {"expires": 5}},
    "deliver": {"task": "journey_crm.tasks.deliver", "schedule": 1.0, "options": {"expires": 5}},
    "webhooks": {"task": "journey_crm.tasks.deliver_webhooks", "schedule": 1.0, "options": {"expires": 5}},
    "sales": {"task": "journey_crm.tasks.tell_sales", "schedule": 5.0, "options": {"expires": 15}},
    "sweep": {"task": "journey_crm.tasks.sweep", "schedule": 30.0, "options": {"expires": 60}},
    "bounces": {"task": "journey_crm.tasks.take_bounces", "schedule": 60.0, "options": {"expires": 120}},
    "imports": {"task": "journey_crm.tasks.run_imports", "schedule": 3.0, "options": {"expires": 9}},
    "tidy": {"task": "journey_crm.tasks.tidy", "schedule": 60.0, "options": {"expires": 120}},
    "retain": {"task": "journey_crm.tasks.retain", "schedule": 60.0, "options": {"expires": 120}},
    "fields": {"task": "journey_crm.tasks.mind_fields", "schedule": 60.0, "options": {"expires": 120}},
    "lint": {"task": "journey_crm.tasks.lint", "schedule": 60.0, "options": {"expires": 120}},
    "predict": {"task": "journey_crm.tasks.predict", "schedule": 60.0, "options": {"expires": 120}},
    "heartbeat": {"task": "journey_crm.tasks.heartbeat", "schedule": 5.0, "options": {"expires": 15}},
}


@worker_process_init.connect
def end_with_the_worker(**_: object) -> None:
    """A pool process must not outlive its worker, not even by kill -9: it would work on without anybody's knowing."""
    die_with_parent(signal.SIGKILL, os.getppid())()
