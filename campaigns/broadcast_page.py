"""A broadcast's own page: one form for to whom, what and when; how the occasion under way stands; the past ones."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from campaigns import broadcasts
from campaigns.findings import LONGEST_NAME, Findings, Known
from campaigns.models import Journey, Sendout
from campaigns.sendouts import progress_of
from contacts.outlook import outlook
from contacts.rule_widget import RuleField
from messaging.models import Template

COLOURS = {
    "scheduled": "is-info", "canary": "is-violet", "sending": "is-warn", "finished": "is-good", "missed": "is-bad",
    "stopped": "",
}  # fmt: skip
# So many past occasions stand on the page.
SHOWN = 20


def _text(label: Any, help_text: Any = "", required: bool = False) -> forms.CharField:
    return forms.CharField(label=label, help_text=help_text, required=required, max_length=200)


class BroadcastForm(forms.Form):
    """What a broadcast says, as fields; `definition(draft)` answers the draft that they mean."""

    name = forms.CharField(label=gettext_lazy("Name"), required=False, max_length=LONGEST_NAME)
    audience = RuleField(label=gettext_lazy("Audience"))
    send = forms.ChoiceField(label=gettext_lazy("Template"))
    at = _text(
        gettext_lazy("When"),
        gettext_lazy(
            "2027-03-28T09:00 by each person's clock; with +02:00 or Europe/Prague behind it one instant; or “now”"
        ),
        required=True,
    )
    rrule = _text(
        gettext_lazy("Again and again"),
        gettext_lazy("such as FREQ=WEEKLY;BYDAY=TH; then “When” is a time such as 10:00"),
    )
    valid_until = _text(
        gettext_lazy("Valid until"), gettext_lazy("such as 2027-03-30T18:00; afterwards it is not sent any more")
    )
    valid_for = _text(gettext_lazy("Valid for"), gettext_lazy("instead of that: such as 2d"))
    throttle = _text(gettext_lazy("Pace"), gettext_lazy("such as 5000/h; empty: as fast as it goes"))
    canary_share = _text(
        gettext_lazy("A few first"), gettext_lazy("such as 5%: if they bounce or complain, it pauses itself")
    )
    canary_wait = _text(gettext_lazy("The rest waits"), gettext_lazy("such as 2h"))

    def __init__(self, *args: Any, draft: Mapping[str, Any] | None = None, **options: Any):
        if draft is not None:
            canary = draft.get("canary")
            canary = canary if isinstance(canary, Mapping) else {}
            options["initial"] = {
                **draft, "canary_share": canary.get("share"), "canary_wait": canary.get("wait"),
            }  # fmt: skip
        super().__init__(*args, **options)
        templates = Template.objects.order_by("key").values_list("key", "name")
        self.fields["send"].choices = [(key, name or key) for key, name in templates]  # type: ignore[attr-defined]

    def definition(self, draft: Mapping[str, Any]) -> dict[str, Any]:
        """The draft with what the form says; what it does not ask for stays."""
        said = {name: value for name, value in self.cleaned_data.items() if value not in (None, "")}
        canary = {part: said.pop(f"canary_{part}") for part in ("share", "wait") if f"canary_{part}" in said}
        kept = {name: value for name, value in draft.items() if name not in self.fields and name != "canary"}
        return kept | said | ({"canary": canary} if canary else {})

    def clean(self) -> dict[str, Any]:
        found = Findings(Known())
        broadcasts.check(found, self.definition({}))
        for problem in found.problems:
            name = problem.path.replace(".", "_")
            name = name if name in self.fields else problem.path.partition(".")[0]
            name = {"canary": "canary_share"}.get(name, name)
            if name in self.fields and name not in self.errors:
                self.add_error(name, problem.message)
        return self.cleaned_data


def context(journey: Journey, draft: Mapping[str, Any], user: Any, now: datetime) -> dict[str, Any]:
    """How the broadcast stands, for its page."""
    rows = list(journey.sendouts.select_related("version")[: SHOWN + 1])
    progress = progress_of(rows)
    shown: list[dict[str, Any]] = [
        {"row": row, "colour": COLOURS[row.state], "progress": progress.get(row.pk)} for row in rows
    ]
    running = [one for one in shown if one["row"].state in Sendout.UNDER_WAY]
    return {
        "meant": outlook(draft.get("audience"), user, now) if draft.get("audience") is not None else None,
        "running": running,
        "planned": [one for one in shown if one["row"].state == "scheduled"],
        "past": [one for one in shown if one["row"].state in ("finished", "missed", "stopped")][:SHOWN],
    }


def summary(draft: Mapping[str, Any], user: Any, now: datetime) -> list[str]:
    """What a publish would bring about, in sentences."""
    found = Findings(Known())
    broadcasts.check(found, draft)
    if found.problems:
        return []
    said = {"count": outlook(draft["audience"], user, now)["count"], "rule": draft.get("rrule"), "at": draft["at"]}
    sentences = []
    if said["count"] is not None:
        sentences.append(_("As of now it would go to %(count)d people; who is meant then is asked then.") % said)
    if broadcasts.is_recurring(draft):
        sentences.append(_("It is sent again and again: %(rule)s, %(at)s.") % said)
    elif draft["at"] == broadcasts.AT_ONCE:
        sentences.append(_("It is sent at once."))
    else:
        at = broadcasts.moment(draft["at"])
        said |= {"moment": f"{at.wall:%Y-%m-%d %H:%M}", "zone": at.zone}
        sentences.append(
            _("It is sent on %(moment)s by the clock of %(zone)s.") % said
            if at.zone
            else _("It is sent on %(moment)s by the clock of each person.") % said
        )
    return sentences
