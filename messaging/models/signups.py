"""Forms by which people ask for topics, and what they asked for."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from contacts.models import Contact
from messaging.models.templates import Topic


class SignupForm(models.Model):
    """A form on a page of ours or, embedded, on pages of `origins`, by which people ask for topics."""

    key = models.SlugField(_("key"), max_length=64, unique=True)
    name = models.TextField(_("name"), blank=True, default="")
    topics = models.ManyToManyField(Topic, related_name="forms", verbose_name=_("topics"))
    fields = models.JSONField(_("fields"), default=list, blank=True, help_text=_("besides the e-mail address"))
    # {"en": {"title": …, "text": …, "consent": …, "button": …}}
    wording = models.JSONField(_("wording by language"), default=dict, blank=True)
    is_double_opt_in = models.BooleanField(_("confirmed by mail"), default=True, help_text=_("double opt-in"))
    thanks_url = models.URLField(_("thank-you page"), blank=True, default="")
    origins = models.JSONField(
        _("sites that embed it"), default=list, blank=True, help_text=_("a list such as https://www.acme.example")
    )
    is_active = models.BooleanField(pgettext_lazy("form", "open"), default=True)

    class Meta:
        verbose_name = _("sign-up form")
        verbose_name_plural = _("sign-up forms")
        ordering = ["key"]

    def __str__(self):
        return self.name or self.key


class Signup(models.Model):
    """Somebody asked for topics with this address; nobody knows yet whether it is theirs.

    What they told besides waits here until they confirm, so that nobody writes into the record of somebody else. The
    link in the mail is signed with the row's number and not stored; `confirmed_at` makes it work once.
    """

    form = models.ForeignKey(SignupForm, models.SET_NULL, null=True, related_name="signups")
    # Null until the tick has made the contact.
    contact = models.ForeignKey(Contact, models.CASCADE, null=True, related_name="signups")
    address = models.TextField()
    topics = models.JSONField(default=list)
    traits = models.JSONField(default=dict)
    source = models.TextField()
    language = models.TextField(default="", db_default="")
    # As in the ledger: the SHA-256 of the words.
    wording = models.TextField(default="", db_default="")
    ip_address = models.GenericIPAddressField(null=True)
    user_agent = models.TextField(default="", db_default="")
    asked_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    mailed_at = models.DateTimeField(null=True)
    confirmed_at = models.DateTimeField(null=True)
    # False where a form asks for no confirmation; who refused before must confirm all the same.
    must_confirm = models.BooleanField(default=True, db_default=True)

    class Meta:
        verbose_name = _("sign-up")
        verbose_name_plural = _("sign-ups")
        indexes = [
            models.Index(fields=["address", "asked_at"], name="signup_address"),
            models.Index(fields=["id"], name="signup_waits", condition=Q(contact=None)),
        ]
