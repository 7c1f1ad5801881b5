"""What we say, in whose voice, to whom, and what became of each message."""

from datetime import time, timedelta

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Lower, Trim
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from contacts.identity import normalise
from contacts.models import Contact
from messaging.headers import mailbox
from messaging.linter import check


class Brand(models.Model):
    """The voice and look of every message: one row."""

    name = models.TextField(_("name"))
    sender = models.TextField(_("from"), help_text=_("Acme <hello@acme.example>"))
    reply_to = models.TextField(_("reply to"), blank=True, default="")
    postal_address = models.TextField(_("postal address"), help_text=_("the law wants it in every marketing mail"))
    website = models.URLField(_("website"), blank=True, default="")
    logo_url = models.URLField(_("logo"), blank=True, default="")
    colours = models.JSONField(_("colours"), default=dict, blank=True)
    banned_words = models.JSONField(_("words we do not use"), default=list, blank=True)
    legal = models.JSONField(_("legal text by language"), default=dict, blank=True)

    class Meta:
        verbose_name = _("brand")
        verbose_name_plural = _("brand")
        constraints = [models.CheckConstraint(name="there_is_one_brand", condition=Q(pk=1))]

    def __str__(self):
        return self.name

    def clean(self):
        for field in ("sender", "reply_to"):
            if value := getattr(self, field):
                try:
                    mailbox(value)
                except ValueError as error:
                    raise ValidationError({field: str(error)}) from None


class Topic(models.Model):
    """What a message is about; people allow or refuse topics."""

    key = models.SlugField(_("key"), max_length=64, unique=True)
    name = models.TextField(_("name"))
    names = models.JSONField(_("name by language"), default=dict, blank=True)
    description = models.TextField(_("description"), blank=True, default="")
    is_opt_in = models.BooleanField(
        _("only with consent"), default=True, help_text=_("off: everybody until they refuse (opt-out)")
    )
    is_double_opt_in = models.BooleanField(
        _("only once confirmed by mail"), default=False, db_default=False, help_text=_("double opt-in")
    )

    class Meta:
        verbose_name = _("topic")
        verbose_name_plural = _("topics")
        ordering = ["key"]
        constraints = [
            models.CheckConstraint(
                name="who_must_confirm_must_consent", condition=Q(is_double_opt_in=False) | Q(is_opt_in=True)
            ),
        ]

    def __str__(self):
        return self.name

    def clean(self):
        if self.is_double_opt_in and not self.is_opt_in:
            raise ValidationError(
                {"is_double_opt_in": _("Only what needs consent can be confirmed: tick “only with consent” too.")}
            )


class Template(models.Model):
    """A message as people edit it. What leaves is a `TemplateVersion`."""

    CLASSES = [
        ("marketing", _("marketing")),
        ("operational", _("operational")),
        ("transactional", _("transactional")),
    ]
    FORMATS = [("markdown", _("Markdown")), ("mjml", _("MJML")), ("html", _("HTML")), ("blocks", _("blocks"))]
    key = models.SlugField(_("key"), max_length=64, unique=True)
    name = models.TextField(_("name"), blank=True, default="")
    topic = models.ForeignKey(Topic, models.PROTECT, null=True, blank=True, verbose_name=_("topic"))
    message_class = models.TextField(_("class"), choices=CLASSES, default="marketing")
    channel = models.TextField(_("channel"), default="email", editable=False)
    language = models.TextField(_("language"), default="en", help_text=_("of the text below; others stand beside it"))
    subject = models.TextField(_("subject"))
    preheader = models.TextField(_("preheader"), blank=True, default="")
    body_format = models.TextField(_("written in"), choices=FORMATS, default="markdown")
    body = models.TextField(_("body"))
    # {"cs": {"subject": …, "preheader": …, "body": …}}
    translations = models.JSONField(_("translations"), default=dict, blank=True)
    is_repeatable = models.BooleanField(_("may reach a person more than once"), default=False)
    updated_at = models.DateTimeField(_("changed"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("template")
        verbose_name_plural = _("templates")
        ordering = ["key"]
        constraints = [
            # Marketing without a topic could not be refused by topic.
            models.CheckConstraint(
                name="marketing_has_a_topic", condition=~Q(message_class="marketing") | Q(topic__isnull=False)
            ),
        ]

    def __str__(self):
        return self.name or self.key

    @property
    def variants(self) -> dict[str, dict[str, str]]:
        """The text in each language; a translation may leave out what is the same."""
        own = {"subject": self.subject, "preheader": self.preheader, "body": self.body}
        others = {
            language: own | {key: text for key, text in variant.items() if key in own and text}
            for language, variant in (self.translations or {}).items()
        }
        return {self.language: own, **others}

    def clean(self):
        """Refuses what could not be sent: Liquid that can not be read, values without a default, forbidden links."""
        if not isinstance(self.translations, dict) or not all(isinstance(v, dict) for v in self.translations.values()):
            raise ValidationError({"translations": _("Write them as {“cs”: {“subject”: …, “body”: …}}.")})
        problems = check(
            variants=self.variants,
            body_format=self.body_format,
            message_class=self.message_class,
            own_language=self.language,
        )
        found: dict[str, list[str]] = {}
        for one in problems:
            field = one.field.split(".")[0]
            detail = (
                one.sentence if field == one.field else f"{one.field.removeprefix('translations.')}: {one.sentence}"
            )
            found.setdefault(field, []).append(detail)
        if found:
            raise ValidationError(found)


class TemplateVersion(models.Model):
    """A template as it was when messages were rendered from it: never changed, so each mail can be shown again."""

    template = models.ForeignKey(Template, models.CASCADE, related_name="versions")
    digest = models.TextField(help_text="SHA-256 of content")
    # {"language": …, "body_format": …, "variants": {"en": {"subject":, "preheader":, "body":}}, "brand": {…}}
    content = models.JSONField()
    # How many links each language tracks: who clicks all of them within two seconds is a program.
    link_counts = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(name="template_version_once", fields=["template", "digest"])]


class MessageQuerySet(models.QuerySet):
    def uncertain(self):
        return self.filter(state="uncertain")

    def sent(self):
        return self.filter(state="sent")


class Message(models.Model):
    """One intent to tell one person one thing; the outbox.

    `pending` waits for the gates · `ready` passed them and waits for a delivery worker · `sending` is claimed ·
    `sent` left · `uncertain` may have left (a worker died in between) · `skipped` was held back, `failed` could not
    leave, `cancelled` was withdrawn: each of these three for one `reason`.
    """

    STATES = [
        ("pending", _("pending")),
        ("ready", _("ready")),
        ("sending", _("sending")),
        ("sent", _("sent")),
        ("uncertain", _("uncertain")),
        ("skipped", _("held back")),
        ("failed", _("failed")),
        ("cancelled", _("withdrawn")),
    ]
    OPEN = ["pending", "ready", "sending"]

    # The reason for the message is its unique key: "enrolment:12:hello:1", "broadcast:sale:77".
    key = models.TextField()
    # Every index costs each message three times; the two-column ones below serve the first two as well.
    contact = models.ForeignKey(
        Contact, models.CASCADE, related_name="messages", db_index=False, verbose_name=_("contact")
    )
    template = models.ForeignKey(
        Template, models.PROTECT, related_name="messages", db_index=False, verbose_name=_("template")
    )
    version = models.ForeignKey(TemplateVersion, models.PROTECT, null=True, related_name="messages", db_index=False)
    channel = models.TextField(_("channel"), default="email", db_default="email")
    message_class = models.TextField(_("class"), choices=Template.CLASSES)
    # What asked for it: "journey:trial-onboarding"; enrolment and node are plain ids, for campaigns stands above.
    source = models.TextField(_("source"), default="", db_default="")
    journey_key = models.TextField(_("journey"), default="", db_default="")
    enrolment_id = models.BigIntegerField(null=True)
    node_key = models.TextField(default="", db_default="")
    is_ghost = models.BooleanField(default=False, db_default=False)
    # Of a cross-sell campaign or a broadcast: it waits while its person is new to something (see `Protection`).
    is_promotion = models.BooleanField(default=False, db_default=False)
    # A paused journey holds its messages back: neither gates nor workers touch them (see `outbox.hold`).
    is_held = models.BooleanField(_("held by a pause"), default=False, db_default=False)
    # 1 hand-off or renewal … 5 newsletter: who goes first where a cap leaves room for one.
    tier = models.PositiveSmallIntegerField(default=3, db_default=3)
    state = models.TextField(_("state"), choices=STATES, default="pending", db_default="pending")
    reason = models.TextField(_("reason"), default="", db_default="")
    created_at = models.DateTimeField(_("created"))
    due_at = models.DateTimeField(_("due"))
    # When it was due at first; null while it was never put off. Who waits is counted from here.
    wanted_at = models.DateTimeField(_("due at first"), null=True)
    valid_until = models.DateTimeField(_("valid until"), null=True)
    # The worker's claim: who, until when. A worker whose lease ran out must not send.
    claimed_by = models.TextField(default="", db_default="")
    claimed_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    # When the worker began to hand it over: a claim that ends before surely sent nothing.
    begun_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0, db_default=0)
    address = models.TextField(_("address"), default="", db_default="")
    zone = models.TextField(_("time zone used"), default="", db_default="")
    language = models.TextField(_("language"), default="", db_default="")
    # Plain values the text was filled with: with `version` they show the mail again as it left.
    context = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    sent_at = models.DateTimeField(_("sent"), null=True)
    finished_at = models.DateTimeField(null=True)
    response = models.TextField(_("server said"), default="", db_default="")

    objects = MessageQuerySet.as_manager()

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        indexes = [
            models.Index(fields=["due_at"], name="message_pending", condition=Q(state="pending")),
            models.Index(fields=["due_at", "id"], name="message_ready", condition=Q(state="ready")),
            models.Index(fields=["lease_until"], name="message_sending", condition=Q(state="sending")),
            models.Index(fields=["contact", "sent_at"], name="message_contact"),
            models.Index(fields=["enrolment_id"], name="message_enrolment", condition=Q(enrolment_id__isnull=False)),
            models.Index(fields=["template", "contact"], name="message_template"),
        ]
        constraints = [
            models.UniqueConstraint(name="one_message_for_one_reason", fields=["key"]),
            models.CheckConstraint(
                name="a_message_that_ended_unsent_has_a_reason",
                condition=~Q(state__in=["skipped", "failed", "cancelled"]) | ~Q(reason=""),
            ),
            models.CheckConstraint(
                name="a_sent_message_has_its_moment", condition=~Q(state="sent") | Q(sent_at__isnull=False)
            ),
            models.CheckConstraint(
                name="a_claim_has_a_lease", condition=~Q(state="sending") | Q(lease_until__isnull=False)
            ),
        ]

    def __str__(self):
        return self.key


class Protection(models.Model):
    """Until when promotions leave a person in peace, because of one onboarding (`source`); the longest counts."""

    contact = models.ForeignKey(Contact, models.CASCADE, related_name="protections")
    source = models.TextField(unique=True)
    until = models.DateTimeField()


class Link(models.Model):
    """A URL that stood in a message; clicks lead to what is stored here and nowhere else."""

    digest = models.BinaryField(unique=True, help_text="SHA-256 of the URL")
    url = models.TextField()
    created_at = models.DateTimeField()


class Hit(models.Model):
    """A click, or (without a link) an open, as it came in. The tick judges it a few seconds later and tells the inbox.

    The wait is what makes the verdict sound: whether one click is part of a scanner's burst shows only afterwards.
    No foreign keys: a link works when its message is long gone.
    """

    message_id = models.BigIntegerField()
    link_id = models.BigIntegerField(null=True)
    hit_at = models.DateTimeField()
    user_agent = models.TextField(default="", db_default="")
    # What shows at once: a HEAD request, a known robot.
    machine_reason = models.TextField(default="", db_default="")
    is_told = models.BooleanField(default=False, db_default=False)

    class Meta:
        indexes = [
            models.Index(fields=["message_id", "hit_at"], name="hit_message"),
            models.Index(fields=["hit_at"], name="hit_untold", condition=Q(is_told=False)),
        ]


class SigningKey(models.Model):
    """Signs tokens in mails. Never deleted: a link must work years later, whatever became of SECRET_KEY."""

    secret = models.BinaryField()
    created_at = models.DateTimeField(default=timezone.now)


class Suppression(models.Model):
    """An address (normalised) that nobody may write to any more."""

    REASONS = [
        ("unsubscribed", _("unsubscribed")),
        ("bounced", _("hard bounce")),
        ("complained", _("complaint")),
        ("manual", _("by hand")),
        ("erased", _("erased")),
    ]
    address = models.TextField(_("address"), unique=True)
    channel = models.TextField(_("channel"), default="email")
    reason = models.TextField(_("reason"), choices=REASONS)
    detail = models.TextField(_("detail"), blank=True, default="")
    suppressed_at = models.DateTimeField(_("since"), default=timezone.now)

    class Meta:
        verbose_name = _("suppressed address")
        verbose_name_plural = _("suppressed addresses")
        constraints = [
            # The gates look for this form; an address in another one would stop nothing.
            models.CheckConstraint(
                name="suppressed_addresses_are_normalised", condition=Q(address=Lower(Trim("address")))
            ),
        ]

    def __str__(self):
        return self.address

    def clean(self):
        """Writes the address as contacts have theirs. Raises ValidationError where it is none."""
        if not self.address:
            return
        try:
            self.address = normalise("email", self.address)
        except ValueError as error:
            raise ValidationError({"address": str(error)}) from None


class SendingPolicy(models.Model):
    """When and how often people hear from us: one row."""

    quiet_from = models.TimeField(_("quiet from"), default=time(20))
    quiet_until = models.TimeField(_("quiet until"), default=time(8))
    per_day = models.PositiveSmallIntegerField(_("marketing messages a day"), default=1)
    per_week = models.PositiveSmallIntegerField(_("marketing messages a week"), default=3)
    per_month = models.PositiveSmallIntegerField(_("marketing messages in 30 days"), default=12)
    max_defer = models.DurationField(_("wait at most"), default=timedelta(hours=72))
    global_holdout = models.PositiveSmallIntegerField(
        _("global holdout, per cent"),
        default=0,
        db_default=0,
        validators=[MaxValueValidator(20)],
        help_text=_("So many of a hundred people get no marketing at all, to measure its effect; 0 to 20."),
    )

    class Meta:
        verbose_name = _("sending policy")
        verbose_name_plural = _("sending policy")
        constraints = [
            models.CheckConstraint(name="there_is_one_policy", condition=Q(pk=1)),
            models.CheckConstraint(name="most_people_are_not_held_out", condition=Q(global_holdout__lte=20)),
        ]

    def __str__(self):
        return str(_("Sending policy"))


class Holdout(models.Model):
    """Whether a person belongs to a holdout group: decided once, when the first message was due, and kept."""

    # "global": no marketing at all.
    scope = models.TextField()
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="holdouts", db_index=False)
    is_held = models.BooleanField()
    decided_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(name="held_out_or_not_once", fields=["contact", "scope"])]


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
