"""The stages of a customer's journey, in order; the scoring app decides who stands where."""

from django.utils.translation import gettext_lazy as _

STAGES = [
    ("visitor", _("Visitor")),
    ("known", _("Known")),
    ("lead", _("Lead")),
    ("qualified", _("Qualified")),
    ("customer", _("Customer")),
    ("ambassador", _("Ambassador")),
    ("disqualified", _("Disqualified")),
    ("churned", _("Churned")),
]

# The way up; disqualified and churned stand beside it.
LADDER = ["visitor", "known", "lead", "qualified", "customer", "ambassador"]
