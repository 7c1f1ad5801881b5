from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class GrowthConfig(AppConfig):
    name = "growth"
    verbose_name = _("Growth")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.db.models import TextField, Value
        from django.db.models.functions import Cast, Concat

        from contacts.erasure import keep
        from contacts.segments import register_rules
        from growth import orderfields
        from growth.definitions import rules
        from growth.models import Order

        orderfields.register()
        register_rules(rules)
        # An order without its buyer and its number is a total, and the books need it.
        keep(Order, number=Concat(Value("erased-"), Cast("pk", TextField())))
