"""The tables of this app, by subject; import them from here."""

from messaging.models.brand import Brand
from messaging.models.delivery import Departure, DomainLimit, Handover, Pace
from messaging.models.findings import LinkCheck, LintFinding, Reading
from messaging.models.messages import Message
from messaging.models.policy import Holdout, Protection, SendingPolicy, Suppression
from messaging.models.reusable import ReusableBlock, UtmRules
from messaging.models.signups import Signup, SignupForm
from messaging.models.templates import Template, TemplateVersion, Topic
from messaging.models.tracking import Hit, Link, SigningKey
from messaging.models.trials import TrialMail

__all__ = [
    "Brand",
    "Departure",
    "DomainLimit",
    "Handover",
    "Hit",
    "Holdout",
    "Link",
    "LinkCheck",
    "LintFinding",
    "Message",
    "Pace",
    "Protection",
    "Reading",
    "ReusableBlock",
    "SendingPolicy",
    "SigningKey",
    "Signup",
    "SignupForm",
    "Suppression",
    "Template",
    "TemplateVersion",
    "Topic",
    "TrialMail",
    "UtmRules",
]
