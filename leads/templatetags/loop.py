"""Numbers of the closed loop as people read them."""

from django import template
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from leads.loop import in_time_words

register = template.Library()


@register.simple_tag
def percent(share: float | None) -> str:
    """A share in whole per cent; a dash where there is none."""
    return "–" if share is None else _("%(share)s %%") % {"share": number_format(round(share))}


@register.simple_tag
def span(seconds: float | None) -> str:
    """A span of time in its two largest units."""
    return in_time_words(seconds)
