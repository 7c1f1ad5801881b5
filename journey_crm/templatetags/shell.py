"""What the shell of every staff page needs: navigation, icons, languages."""

from typing import cast

from django import template
from django.contrib.admin import site
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

from journey_crm.site import JourneyAdminSite

register = template.Library()


@register.simple_tag(takes_context=True)
def navigation(context: template.Context) -> list:
    """The user's navigation groups, on any page; nothing for visitors who have not logged in."""
    request = context.get("request")
    if request is None or not getattr(request, "user", None) or not request.user.is_active:
        return []
    return cast(JourneyAdminSite, site).navigation(request)


@register.simple_tag
def icon(name: str, css: str = "") -> SafeString:
    """An icon of the sprite, hidden from screen readers: the text beside it must say what it means."""
    return format_html(
        '<svg class="icon {}" width="18" height="18" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>',
        css,
        static("journey/icons.svg"),
        name,
    )
