from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MessagingConfig(AppConfig):
    name = "messaging"
    verbose_name = _("Messaging")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.db.models import TextField, Value
        from django.db.models.functions import Cast, Concat

        from contacts.consent import demand_confirmation, register_topics
        from contacts.erasure import forget_by, keep
        from contacts.explaining import register_explanation
        from contacts.rules import register_leaf
        from contacts.segments import register_user_of_fields, register_user_of_segments
        from messaging.alerts import once_an_hour
        from messaging.explaining import explain_message
        from messaging.forgetting import forget_mail
        from messaging.gates import register_gate
        from messaging.leaf import ConsentIs
        from messaging.models import Message, Topic
        from messaging.signups import live_template, must_confirm
        from messaging.uses import register_live_templates, users_of_field, users_of_segment

        register_leaf("consent", ConsentIs)
        register_explanation(
            "message",
            lambda contact, key, now: explain_message(contact=contact, key=key, now=now).as_dict(),
            "messaging.view_message",
        )
        register_gate(once_an_hour)
        demand_confirmation(must_confirm)
        register_topics(lambda: Topic.objects.values_list("key", flat=True))
        register_user_of_segments(users_of_segment)
        register_user_of_fields(users_of_field, is_asking=False)
        register_live_templates(live_template)
        # How many messages left, and why others did not, is counted; to whom and with which words is gone.
        forget_by(forget_mail)
        keep(
            Message, key=Concat(Value("erased:"), Cast("pk", TextField())), address="", zone="",
            zone_from="", waits_for="", context={}, response="",
        )  # fmt: skip
