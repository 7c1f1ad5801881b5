"""The three roles as groups: who may do what. Safe to run again at any time; permissions given by hand stay."""

from django.contrib.auth.models import Group, Permission
from django.db.models import Q

MARKETER = "Marketer"
SALES_REP = "Sales rep"
ADMINISTRATOR = "Administrator"

# Made by the engine or kept as proof: looked at, not edited.
_READ_ONLY = {
    "contacts": [
        "touchpoint",
        "consentchange",
        "wording",
        "erasure",
        "touchpointtotal",
        "merge",
        "mergeentry",
        "stepcursor",
        "incoming",
        "receipt",
        "heartbeat",
        "zone",
    ],
    "scoring": ["scoreentry", "contactscore", "contactprediction", "stagechange"],
    "messaging": [
        "departure",
        "feedback",
        "handover",
        "hit",
        "hold",
        "mailboxnote",
        "pace",
        "reportcount",
        "suppressionchange",
    ],
}
# Keys to the house.
_ADMINISTRATORS_ONLY = ["apitoken", "idempotencykey", "allowance", "webhook", "webhookdelivery"]


def _marketers() -> Q:
    may = Q(content_type__app_label__in=["contacts", "scoring", "messaging", "growth", "campaigns"])
    for app, models in _READ_ONLY.items():
        may &= ~(Q(content_type__app_label=app, content_type__model__in=models) & ~Q(codename__startswith="view_"))
    may &= ~Q(content_type__app_label="contacts", content_type__model__in=_ADMINISTRATORS_ONLY)
    # Consent that a file brings is an administrator's to answer for.
    may &= ~Q(content_type__app_label="contacts", codename="raise_consent")
    # Writing again to who complained harms the delivery of everything.
    may &= ~Q(content_type__app_label="messaging", codename="lift_complaint")
    # The ledger of stages is the tick's, but a marketer may ask it for a move.
    may |= Q(content_type__app_label="scoring", codename="request_stage")
    return may | Q(content_type__app_label="leads", codename__startswith="view_")


def ensure_roles() -> dict[str, Group]:
    """Makes the groups Marketer, Sales rep and Administrator with their permissions; answers them by name.

    Marketers and administrators also need `is_staff` to enter the admin; sales reps are not staff and see only their
    own and unclaimed leads.
    """
    permissions = {
        MARKETER: Permission.objects.filter(_marketers()),
        SALES_REP: Permission.objects.filter(content_type__app_label="leads", codename="work_lead"),
        ADMINISTRATOR: Permission.objects.all(),
    }
    roles = {}
    for name, allowed in permissions.items():
        roles[name], _ = Group.objects.get_or_create(name=name)
        roles[name].permissions.add(*allowed)
    return roles
