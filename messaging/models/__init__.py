"""The tables of this app, by subject; import them from here."""

from messaging.models.bounces import Brake, Feedback, MailboxNote, ReportCount, ReturnedMail, SuppressionChange
from messaging.models.brand import Brand
from messaging.models.delivery import Departure, DomainLimit, Handover, Pace
from messaging.models.findings import LinkCheck, LintFinding, Reading
from messaging.models.holds import Hold
from messaging.models.limits import Cap, SegmentZone
from messaging.models.messages import Message
from messaging.models.policy import Holdout, Protection, SendingPolicy, Suppression
from messaging.models.reusable import ReusableBlock, UtmRules
from messaging.models.signups import Signup, SignupForm
from messaging.models.templates import Template, TemplateVersion, Topic
from messaging.models.tracking import Hit, Link, SigningKey
from messaging.models.trials import TrialMail

__all__ = [
    "Brake",
    "Brand",
    "Cap",
    "Feedback",
    "Departure",
    "DomainLimit",
    "Handover",
    "Hit",
    "Hold",
    "Holdout",
    "Link",
    "LinkCheck",
    "LintFinding",
    "MailboxNote",
    "Message",
    "Pace",
    "Protection",
    "Reading",
    "ReusableBlock",
    "SegmentZone",
    "ReportCount",
    "ReturnedMail",
    "SendingPolicy",
    "SigningKey",
    "Signup",
    "SignupForm",
    "Suppression",
    "SuppressionChange",
    "Template",
    "TemplateVersion",
    "Topic",
    "TrialMail",
    "UtmRules",
]
