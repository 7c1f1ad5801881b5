"""The tables of this app, by subject; import them from here."""

from contacts.models.consent import Consent, ConsentChange, Wording
from contacts.models.doors import Allowance, ApiToken, IdempotencyKey
from contacts.models.events import Heartbeat, Incoming, Receipt, StepCursor, Touchpoint
from contacts.models.groups import AT_ONCE, Membership, MembershipOverride, Segment, Turn
from contacts.models.imports import Export, Import, ImportedPerson, ImportNote
from contacts.models.people import (
    Company,
    Contact,
    ContactQuerySet,
    ErasedHandle,
    ErasureKey,
    Field,
    Identity,
    Merge,
    MergeEntry,
    Trait,
    UnfitValue,
    Zone,
)
from contacts.models.privacy import Erasure, RetentionRule, TouchpointTotal
from contacts.models.webhooks import Webhook, WebhookDelivery

__all__ = [
    "AT_ONCE",
    "Allowance",
    "ApiToken",
    "Company",
    "Consent",
    "ConsentChange",
    "Contact",
    "ContactQuerySet",
    "ErasedHandle",
    "Erasure",
    "ErasureKey",
    "Export",
    "Field",
    "Heartbeat",
    "IdempotencyKey",
    "Identity",
    "Import",
    "ImportNote",
    "ImportedPerson",
    "Incoming",
    "Membership",
    "MembershipOverride",
    "Merge",
    "MergeEntry",
    "Receipt",
    "RetentionRule",
    "Segment",
    "StepCursor",
    "Touchpoint",
    "TouchpointTotal",
    "Trait",
    "Turn",
    "UnfitValue",
    "Webhook",
    "WebhookDelivery",
    "Wording",
    "Zone",
]
