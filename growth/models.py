"""What we sell and who bought it."""

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from contacts.models import Contact


class Product(models.Model):
    key = models.SlugField(_("key"), max_length=64, unique=True)
    name = models.TextField(_("name"))
    category = models.TextField(_("category"), blank=True, default="")
    price = models.DecimalField(_("price"), max_digits=12, decimal_places=2, null=True, blank=True)
    currency = models.CharField(_("currency"), max_length=3, default="EUR")
    url = models.URLField(_("address"), blank=True, default="")
    is_active = models.BooleanField(_("on sale"), default=True)

    class Meta:
        verbose_name = _("product")
        verbose_name_plural = _("products")
        ordering = ["name"]

    def __str__(self):
        return self.name


class Order(models.Model):
    """One purchase; `number` is the shop's own and makes repeated syncs harmless."""

    STATES = [("placed", _("placed")), ("paid", _("paid")), ("cancelled", _("cancelled")), ("refunded", _("refunded"))]
    number = models.TextField(_("number"), unique=True)
    contact = models.ForeignKey(Contact, models.CASCADE, related_name="orders", verbose_name=_("contact"))
    state = models.TextField(_("state"), choices=STATES, default="placed")
    total = models.DecimalField(_("total"), max_digits=14, decimal_places=2)
    currency = models.CharField(_("currency"), max_length=3, default="EUR")
    placed_at = models.DateTimeField(_("placed"))
    created_at = models.DateTimeField(_("received"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        indexes = [models.Index(fields=["contact", "placed_at"], name="order_contact")]
        constraints = [models.CheckConstraint(name="order_total_is_not_negative", condition=Q(total__gte=0))]

    def __str__(self):
        return self.number


class OrderLine(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines", verbose_name=_("order"))
    product = models.ForeignKey(Product, models.PROTECT, related_name="lines", verbose_name=_("product"))
    quantity = models.DecimalField(_("quantity"), max_digits=12, decimal_places=3, default=1)
    price = models.DecimalField(_("price of one"), max_digits=12, decimal_places=2)

    class Meta:
        verbose_name = _("order line")
        verbose_name_plural = _("order lines")
        constraints = [
            models.UniqueConstraint(name="order_line_once_per_product", fields=["order", "product"]),
            models.CheckConstraint(name="order_line_quantity_is_positive", condition=Q(quantity__gt=0)),
        ]


class Offer(models.Model):
    """Something to propose to a customer; the engine that chooses comes with growth, the definition stands here."""

    key = models.SlugField(_("key"), max_length=64, unique=True)
    name = models.TextField(_("name"), blank=True, default="")
    products = models.ManyToManyField(Product, related_name="offers", verbose_name=_("products"))
    audience = models.JSONField(_("audience"), null=True, blank=True)
    excludes = models.JSONField(_("not for"), default=list, blank=True)
    group = models.SlugField(_("only one of group"), max_length=64, blank=True, default="")
    priority = models.PositiveSmallIntegerField(_("priority"), default=5)
    coupons = models.PositiveIntegerField(_("coupons"), null=True, blank=True)
    cooldown = models.DurationField(_("pause between two"), null=True, blank=True)
    holdout = models.PositiveSmallIntegerField(_("holdout, per cent"), default=0)
    valid_from = models.DateTimeField(_("valid from"), null=True, blank=True)
    valid_until = models.DateTimeField(_("valid until"), null=True, blank=True)
    is_active = models.BooleanField(_("active"), default=True)

    class Meta:
        verbose_name = _("offer")
        verbose_name_plural = _("offers")
        ordering = ["key"]

    def __str__(self):
        return self.name or self.key


class OfferPresentation(models.Model):
    """An offer that was chosen for a person, once for each occasion (`key`), at the price of that moment.

    `eligible`: it would have been shown, and was held back for measurement · `presented`: it was shown.
    """

    STATES = [("eligible", _("eligible")), ("presented", _("presented"))]
    key = models.TextField(unique=True)
    offer = models.ForeignKey(Offer, models.CASCADE, related_name="presentations", verbose_name=_("offer"))
    contact = models.ForeignKey(
        Contact, models.CASCADE, related_name="presentations", db_index=False, verbose_name=_("contact")
    )
    slot = models.TextField(_("slot"), default="", db_default="")
    state = models.TextField(_("state"), choices=STATES)
    is_ghost = models.BooleanField(_("held out"), default=False, db_default=False)
    price = models.DecimalField(_("price"), max_digits=14, decimal_places=2, null=True)
    currency = models.TextField(_("currency"), default="", db_default="")
    created_at = models.DateTimeField(_("chosen"))
    presented_at = models.DateTimeField(_("presented"), null=True)

    class Meta:
        verbose_name = _("presented offer")
        verbose_name_plural = _("presented offers")
        indexes = [models.Index(fields=["contact", "offer", "created_at"], name="presentation_contact")]
        constraints = [
            models.CheckConstraint(
                name="a_presentation_has_its_moment",
                condition=Q(state="eligible", presented_at=None)
                | (~Q(state="eligible") & Q(presented_at__isnull=False)),
            ),
            models.CheckConstraint(
                name="nobody_held_out_is_presented_an_offer", condition=Q(is_ghost=False) | Q(state="eligible")
            ),
        ]

    def __str__(self):
        return self.key
