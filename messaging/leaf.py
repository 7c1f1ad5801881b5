"""The rule leaf `consent`: `{consent: newsletter}`, true where a mail of that topic may be sent.

With `channel` another way to reach people, with `state` what they said: `{consent: tips, channel: sms, state: denied}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Lower, Trim
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from contacts.consent import consent_state
from contacts.leaves import only
from contacts.models import Consent, Contact
from contacts.rulefields import Vocabulary
from contacts.rulevalues import RuleError, negate, text, within
from contacts.rulewords import say_instant
from messaging.models import Suppression, Topic
from messaging.refusing import CHANNELS

STATES = ["granted", "denied", "pending", "none"]


@dataclass(frozen=True)
class ConsentIs:
    """What a person allows of a topic on a channel.

    `granted` asks as the gates do, may this be sent: topic, refusal of all, and for mail suppression. The other states
    ask the ledger alone: refused (the topic or the whole channel), still to be confirmed, or nothing ever said.
    """

    topic: str
    channel: str = "email"
    state: str = "granted"
    name: str = field(default="", compare=False)

    @classmethod
    def parse(cls, data: Mapping[str, Any], path: str, names: Vocabulary) -> Self:
        only(data, path, {"consent", "channel", "state"})
        topic = text(data["consent"], within(path, "consent"))
        channel, state = data.get("channel", "email"), data.get("state", "granted")
        if not isinstance(channel, str) or channel not in CHANNELS:
            raise RuleError(
                within(path, "channel"),
                _("There is no channel %(channel)s; known here: %(known)s.")
                % {"channel": repr(channel), "known": ", ".join(CHANNELS)},
            )
        if state not in STATES:
            raise RuleError(
                within(path, "state"),
                _("A consent is not asked for %(state)s; known here: %(known)s.")
                % {"state": repr(state), "known": ", ".join(STATES)},
            )
        name = Topic.objects.filter(key=topic).values_list("name", flat=True).first()
        if name is None:
            raise RuleError(within(path, "consent"), _("There is no topic “%(key)s”.") % {"key": topic})
        return cls(topic, channel, state, name)

    @classmethod
    def describe(cls, names: Vocabulary) -> dict[str, Any]:
        topics = Topic.objects.order_by("key").values_list("key", "name")
        states = {
            "granted": _("may be sent"),
            "denied": _("was refused"),
            "pending": _("awaits confirmation"),
            "none": _("nothing was ever said"),
        }
        return {
            "label": _("Consent"),
            "choices": [{"value": key, "label": name or key} for key, name in topics],
            # What may be said beside, with the value that holds where nothing is.
            "beside": [
                {
                    "key": "channel",
                    "label": _("Channel"),
                    "choices": [{"value": key, "label": str(label)} for key, label in CHANNELS.items()],
                    "default": "email",
                },
                {
                    "key": "state",
                    "label": pgettext("of a consent", "State"),
                    "choices": [{"value": key, "label": states[key]} for key in STATES],
                    "default": "granted",
                },
            ],
        }

    def says(self) -> str:
        said = {"topic": self.name or self.topic}
        sentences = {
            ("email", "granted"): _("May get e-mail about “%(topic)s”"),
            ("email", "denied"): _("Refused e-mail about “%(topic)s”"),
            ("email", "pending"): _("Has yet to confirm e-mail about “%(topic)s”"),
            ("email", "none"): _("Never said anything on e-mail about “%(topic)s”"),
            ("sms", "granted"): _("May get SMS about “%(topic)s”"),
            ("sms", "denied"): _("Refused SMS about “%(topic)s”"),
            ("sms", "pending"): _("Has yet to confirm SMS about “%(topic)s”"),
            ("sms", "none"): _("Never said anything on SMS about “%(topic)s”"),
        }
        return sentences[self.channel, self.state] % said

    def dump(self) -> dict[str, Any]:
        data = {"consent": self.topic}
        if self.channel != "email":
            data["channel"] = self.channel
        if self.state != "granted":
            data["state"] = self.state
        return data

    def to_q(self, now: datetime) -> Q:
        mine = Consent.objects.filter(contact_id=OuterRef("pk"), channel=self.channel)
        either = mine.filter(topic__in=["", self.topic])
        denied = Q(Exists(either.filter(state="denied")))
        if self.state == "denied":
            return denied
        # Who is yet to confirm the address confirms all that was said by it.
        veto = Q(Exists(mine.filter(topic="", state__in=["denied", "pending"])))
        if self.state == "pending":
            return Q(Exists(either.filter(state="pending"))) & negate(denied)
        if self.state == "none":
            return negate(Q(Exists(mine.filter(topic=self.topic)))) & negate(veto)
        is_opt_in = Topic.objects.filter(key=self.topic).values_list("is_opt_in", flat=True).first()
        if is_opt_in is False:
            said = negate(Q(Exists(mine.filter(topic=self.topic, state__in=["denied", "pending"]))))
        else:
            said = Q(Exists(mine.filter(topic=self.topic, state="granted")))
        allowed = said & negate(veto)
        if self.channel != "email":
            return allowed
        return allowed & negate(Q(Exists(Suppression.objects.filter(address=Lower(Trim(OuterRef("email")))))))

    def evidence(self, contact: Contact, now: datetime) -> dict[str, Any]:
        # The list of suppressed addresses is one of mail, and says nothing of what a person said.
        is_asked = self.channel == "email" and self.state == "granted"
        found = Suppression.objects.filter(address=contact.email.strip().lower()).first() if is_asked else None
        said = Consent.objects.filter(contact=contact, channel=self.channel, topic__in=["", self.topic])
        return {
            "value": consent_state(contact, self.topic, self.channel),
            "since": said.order_by("-changed_at").values_list("changed_at", flat=True).first(),
            "suppressed": found.reason if found else "",
        }

    def because(self, evidence: dict[str, Any]) -> str:
        if evidence["suppressed"]:
            return _("No mail goes to this address: %(reason)s.") % {"reason": evidence["suppressed"]}
        if not evidence["value"]:
            return _("This person was never asked or never answered.")
        return _("The answer of %(moment)s: %(answer)s.") % {
            "answer": dict(Consent.STATES)[evidence["value"]],
            "moment": say_instant(evidence["since"]),
        }

    @property
    def has_time(self) -> bool:
        return False
