"""What a contact's page shows of the prediction: a chip in the head, and what weighs most in it."""

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone

from contacts.models import Contact
from contacts.panels import Beside
from scoring.prediction import prediction_of


def panel(request: HttpRequest, contact: Contact) -> Beside | None:
    """The chance that the contact becomes a customer, and why; None without one, and for whom may not see it."""
    if not request.user.has_perm("scoring.view_contactprediction"):
        return None
    found = prediction_of(contact, timezone.now())
    if found is None:
        return None
    return Beside([found.in_short], render_to_string("scoring/prediction_beside.html", {"prediction": found}, request))
