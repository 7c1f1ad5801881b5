"""Which links in live messages lead nowhere, by asking them: no address of our own network is ever asked."""

from messaging.models import LinkCheck


def known() -> dict[str, str]:
    """The addresses known not to work, each with the reason in words."""
    return {one.url: one.problem for one in LinkCheck.objects.exclude(problem="")}
