"""Logging in: by name and password, and not by trying one password after the other."""

from datetime import timedelta
from hashlib import sha256
from math import ceil

from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _

from contacts import throttling
from contacts.models import Allowance

# So many tries for one name; each comes back after a part of the time. Counted by the name alone: of their address
# clients say what they like, and behind a proxy all of them have the same.
MOST_TRIES, WITHIN = 10, timedelta(minutes=10)


class GuardedLogin(AuthenticationForm):
    """Locks a name, whether there is such a user or not, against further tries for some minutes."""

    def clean(self):
        name = self.cleaned_data.get("username")
        if not name or not self.cleaned_data.get("password"):
            return super().clean()
        now = timezone.now()
        key = f"login:{sha256(name.strip().casefold().encode()).hexdigest()}"
        full_at, may_try = throttling.draw(key, 1, most=MOST_TRIES, within=WITHIN, now=now)
        if not may_try:
            wait = ceil((full_at - now - WITHIN + WITHIN / MOST_TRIES).total_seconds() / 60)
            raise ValidationError(
                _("Too many wrong passwords for this name. Try again in %(minutes)d min.") % {"minutes": max(wait, 1)},
                code="locked",
            )
        data = super().clean()
        Allowance.objects.filter(key=key).delete()
        return data
