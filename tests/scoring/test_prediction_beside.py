"""The prediction on a contact's page."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.urls import reverse
from django.utils import timezone

from contacts.models import Contact, Touchpoint
from journey_crm.roles import MARKETER, ensure_roles
from scoring.models import PredictionModel
from tests.scoring.past import act
from tests.scoring.test_history_pages import NUMBERS

pytestmark = pytest.mark.django_db


def test_a_contact_shows_how_likely_they_are_to_become_a_customer_and_why(client):
    user = get_user_model().objects.create_user("mark", is_staff=True)
    user.groups.add(ensure_roles()[MARKETER])
    client.force_login(user)
    now = timezone.now()
    jana = Contact.objects.create(email="jana@example.com", stage="lead", created_at=now - timedelta(days=9))
    Touchpoint.objects.bulk_create([act(jana, "prices.viewed", now - timedelta(hours=2 + n)) for n in range(4)])
    page = reverse("admin:contacts_contact_change", args=[jana.pk])
    assert "chance to become a customer" not in client.get(page).content.decode()
    PredictionModel.objects.create(version=1, state="live", made_at=now, **NUMBERS)
    shown = client.get(page).content.decode()
    assert "chance to become a customer within 90 days" in shown and "% to become a customer" in shown
    assert "prices.viewed: 4 times in 14 days" in shown
    Contact.objects.filter(pk=jana.pk).update(stage="customer")
    assert "chance to become a customer" not in client.get(page).content.decode()
