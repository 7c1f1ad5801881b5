from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class JourneyAdminConfig(AdminConfig):
    default_site = "journey_crm.site.JourneyAdminSite"


class JourneyConfig(AppConfig):
    name = "journey_crm"
    verbose_name = "Journey CRM"
