from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class LeadsConfig(AppConfig):
    name = "leads"
    verbose_name = _("Leads")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.db.models import Q

        from contacts.access import open_to
        from contacts.erasure import keep
        from contacts.explaining import register_explanation
        from contacts.merging import settle_by
        from contacts.segments import register_rules
        from leads.definitions import rules
        from leads.handoff import SQL
        from leads.models import Lead
        from leads.scope import contacts_of
        from leads.trying import explain_team

        open_to(contacts_of)
        settle_by(SQL["settle_leads"])
        register_rules(rules)
        register_explanation("team", explain_team, "leads.view_team")
        # What became of leads is counted; nothing in them tells of whom.
        ended = Q(state__in=["rejected", "converted"])
        keep(Lead, ended, headline="", evidence=[], note="", touchpoint_id=None, unrouted_because="")
