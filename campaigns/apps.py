from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CampaignsConfig(AppConfig):
    name = "campaigns"
    verbose_name = _("Campaigns")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from campaigns.enrolling import SQL
        from campaigns.explaining import explain_journey
        from campaigns.leaving import end_erased, gate
        from campaigns.letters import live
        from campaigns.models import Achievement, Assignment, Enrolment, Journey
        from campaigns.nurture import FIELD
        from campaigns.publishing import asking, users_of_field, users_of_segment, users_of_template
        from contacts.beside import show_beside_stage
        from contacts.erasure import forget_by, keep
        from contacts.explaining import register_explanation
        from contacts.merging import settle_by
        from contacts.retention import register_reader_of_history
        from contacts.rulefields import register_field
        from contacts.segments import register_user_of_fields, register_user_of_segments
        from contacts.sql import Fragment
        from messaging.gates import register_gate, register_pauses, register_quiet_hours
        from messaging.uses import register_live_templates, register_user_of_templates

        settle_by(SQL["end_merged"], undo=SQL["reopen_unmerged"])
        settle_by(SQL["give_way_merged"])
        settle_by(SQL["move_tokens_of_merged"], undo=SQL["part_tokens"])
        register_explanation(
            "journey",
            lambda contact, key, now: explain_journey(contact, Journey.objects.get(key=key), now),
            "campaigns.view_journey",
        )
        register_gate(gate)
        register_quiet_hours(Fragment(SQL["quiet_hours_of_journeys"].sql))
        register_pauses(Fragment(SQL["paused_journeys"].sql))
        register_user_of_segments(users_of_segment)
        register_user_of_fields(users_of_field)
        register_user_of_templates(users_of_template)
        register_live_templates(live)
        # How many were on a journey and how they left it is counted; the occasion (an order's number) is the person's.
        forget_by(end_erased)
        keep(Enrolment, entry_key="")
        keep(Achievement)
        keep(Assignment)
        register_reader_of_history(asking)
        register_field(FIELD)
        show_beside_stage(FIELD.key)
