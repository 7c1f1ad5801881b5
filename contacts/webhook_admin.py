"""The screens of webhooks: endpoints, how each fares, what it was told lately, and what may be done about it."""

from django import forms
from django.contrib import admin, messages
from django.contrib.postgres.forms import SimpleArrayField
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from contacts import outward, webhooks
from contacts.models import Webhook

STATUSES = {
    "working": (gettext_lazy("works"), "is-good"),
    "failing": (gettext_lazy("fails"), "is-warn"),
    "open": (gettext_lazy("fails; tried now and then"), "is-bad"),
    "off": (gettext_lazy("off"), ""),
}
_STATE_COLOURS = {"delivered": "is-good", "refused": "is-bad", "failed": "is-bad", "waiting": "is-info"}
# So many of the newest deliveries are shown.
_SHOWN = 50


class WebhookForm(forms.ModelForm):
    kinds = SimpleArrayField(
        forms.CharField(max_length=200),
        label=gettext_lazy("Kinds"),
        required=False,
        max_length=100,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=gettext_lazy("such as order.placed, lead.*, separated by commas; empty: everything"),
    )

    class Meta:
        model = Webhook
        fields = ["name", "url", "kinds", "origin", "is_active"]
        widgets = {
            "name": forms.TextInput(attrs={"class": "vTextField"}),
            "url": forms.TextInput(attrs={"class": "vTextField", "inputmode": "url", "spellcheck": "false"}),
        }

    def clean_url(self):
        try:
            outward.parse(self.cleaned_data["url"])
        except outward.Forbidden as error:
            raise forms.ValidationError(str(error)) from None
        return self.cleaned_data["url"]

    def clean_kinds(self):
        try:
            return webhooks.check_kinds(self.cleaned_data["kinds"] or [])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def _post_clean(self):
        # Why it is off is written with it, so that the row is never at odds with itself.
        wanted = self.cleaned_data.pop("is_active", None)
        super()._post_clean()
        if wanted is not None:
            self.cleaned_data["is_active"] = wanted


@admin.register(Webhook)
class WebhookAdmin(admin.ModelAdmin):
    form = WebhookForm
    list_display = ["name", "url", "kind_list", "status_chip", "succeeded_at", "short_error"]
    search_fields = ["name", "url"]
    change_form_template = "contacts/webhook_change_form.html"
    why_empty = gettext_lazy(
        "A webhook tells another system, such as your accounting, within seconds what happens to people here, signed "
        "and repeated until it arrives."
    )

    @admin.display(description=gettext_lazy("kinds"))
    def kind_list(self, webhook):
        return ", ".join(webhook.kinds) or _("everything")

    @admin.display(description=gettext_lazy("state"))
    def status_chip(self, webhook):
        words, colour = STATUSES[webhook.status]
        return format_html('<span class="chip {}">{}</span>', colour, words)

    @admin.display(description=gettext_lazy("last error"))
    def short_error(self, webhook):
        return webhook.last_error[:100]

    # Whoever makes an endpoint lets another system see every contact.
    def has_add_permission(self, request):
        return super().has_add_permission(request) and request.user.has_perm("contacts.view_contact")

    def has_change_permission(self, request, obj=None):
        return super().has_change_permission(request, obj) and request.user.has_perm("contacts.view_contact")

    def has_view_permission(self, request, obj=None):
        return super().has_view_permission(request, obj) and request.user.has_perm("contacts.view_contact")

    def get_fields(self, request, obj=None):
        return ["name", "url", "kinds", "origin", "is_active"] if obj else ["name", "url", "kinds", "origin"]

    def get_urls(self):
        act = self.admin_site.admin_view(self.act_view)
        return [path("<int:webhook_id>/act/", act, name="contacts_webhook_act"), *super().get_urls()]

    def save_model(self, request, obj, form, change):
        if not change:
            obj.secret, obj.made_by = webhooks.make_secret(), request.user
            super().save_model(request, obj, form, change)
            _show(request, obj.secret)
            return
        obj.save(update_fields=["name", "url", "kinds", "origin"])
        if "is_active" in form.changed_data:
            if form.cleaned_data["is_active"]:
                obj.switch_on()
            else:
                obj.switch_off("by_hand", timezone.now())

    def act_view(self, request, webhook_id):
        """The buttons of the page: test, again, rotate."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        webhook = get_object_or_404(Webhook, pk=webhook_id)
        if not self.has_change_permission(request, webhook):
            raise PermissionDenied
        now = timezone.now()
        match request.POST.get("act", "").split(":"):
            case ["test"] if webhook.is_active:
                webhooks.send_test(webhook, now=now)
                messages.success(request, _("A test event is on its way; look again in a moment."))
            case ["rotate"]:
                _show(request, webhooks.rotate(webhook, now=now))
                messages.info(request, _("The secret before this one signs beside it for another 24 hours."))
            case ["again", ("failed" | "refused") as state]:
                count = webhooks.send_again(webhook.deliveries.filter(state=state), now=now)
                messages.success(request, _("Sent again: %(count)d.") % {"count": count})
            case ["again", number] if number.isascii() and number.isdecimal() and len(number) < 19:
                count = webhooks.send_again(webhook.deliveries.filter(pk=int(number)), now=now)
                messages.success(request, _("Sent again: %(count)d.") % {"count": count})
            case _:
                messages.error(request, _("This can not be done now."))
        return HttpResponseRedirect(reverse(f"{self.admin_site.name}:contacts_webhook_change", args=[webhook.pk]))

    def render_change_form(self, request, context, *args, **kwargs):
        webhook = kwargs.get("obj")
        if webhook is not None:
            rows = list(webhook.deliveries.order_by("-pk")[:_SHOWN])
            context |= {
                "status_chip": self.status_chip(webhook),
                "deliveries": [(row, _STATE_COLOURS.get(row.state, "")) for row in rows],
                "waiting": webhook.deliveries.filter(state__in=["waiting", "sending"]).count(),
                "given_up": webhook.deliveries.filter(state="failed").count(),
                "act_url": reverse(f"{self.admin_site.name}:contacts_webhook_act", args=[webhook.pk]),
                "may_act": self.has_change_permission(request, webhook),
            }
        return super().render_change_form(request, context, *args, **kwargs)

    def get_deleted_objects(self, objs, request):
        # Its deliveries go with it; listing a million of them helps nobody.
        return [str(webhook) for webhook in objs], {}, set(), []


def _show(request, secret: str) -> None:
    messages.warning(
        request, format_html(_("This is shown once, so copy it now: {}"), format_html("<code>{}</code>", secret))
    )
