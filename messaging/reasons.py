"""Why a message did not leave: every reason that can stand in `Message.reason`, as a sentence for people."""

from django.utils.translation import gettext_lazy as _

# In the order of the gates: the first that fails is the reason.
GATES = {
    "erased": _("The person asked to be erased."),
    "merged": _("The contact was merged into another one."),
    "legal_hold": _("There is a legal hold on the address: nobody writes to it, whatever the message is."),
    "unsubscribed": _("The person unsubscribed from everything."),
    "topic_refused": _("The person refused this topic."),
    "no_consent": _("The topic needs consent, and the person has not given it."),
    "no_address": _("There is no address: no e-mail address or, for an SMS, no telephone number."),
    "invalid_address": _("The e-mail address or telephone number is not valid."),
    "suppressed": _("The address is suppressed: it bounced, complained, or was blocked by hand."),
    "already_sent": _("The person has already got this content."),
    "expired": _("The message was no longer valid when it could have been sent."),
    "holdout": _("The person is in the holdout group and gets nothing, so that the effect can be measured."),
    "onboarding_protection": _("The person was new to something and left in peace for as long as this one was valid."),
    "held_by_sales": _("Sales held marketing for this person for as long as the message was valid."),
    "paused": _("The person asked for a pause that lasts longer than the message is valid."),
    "quiet_hours": _("It was night, a Sunday or a holiday where the person lives, and the message was not to wait."),
    "capped": _("The person had enough messages of ours for as long as this one was valid."),
}

# While it is rendered and handed over.
DELIVERY = {
    "render_error": _("The text could not be filled in for this person."),
    "header_injection": _("A value with a line break would have got into a mail header."),
    "no_brand": _("There is no brand, so the mail would have had no sender and no postal address."),
    "bounced": _("The mail server said that the address does not exist."),
    "refused": _("The mail server refused the message for good."),
    "gave_up": _("The mail server did not take the message after several attempts."),
}

# Put off while it was about to be handed over; it has not ended.
WAITING = {
    "throttled": _("It waits because its provider, or all mail, gets no more for now."),
}

# Withdrawn before the gates or after them.
WITHDRAWN = {
    "exited": _("The person left the journey."),
    "goal_reached": _("The person reached the journey's goal."),
    "activated": _("The person had done all that the sequence leads to."),
    "milestone_reached": _("The person had already done what the message leads to."),
    "superseded": _("Another journey took over."),
    "journey_stopped": _("The journey was stopped."),
    "withdrawn": _("Somebody withdrew the message."),
}

# Which line of a checklist each of them stands at.
GATE_OF = {
    "erased": "person", "merged": "person", "legal_hold": "legal", "unsubscribed": "consent",
    "topic_refused": "consent", "no_consent": "consent", "no_address": "address", "invalid_address": "address",
    "suppressed": "suppression", "exited": "journey", "goal_reached": "journey", "journey_stopped": "journey",
    "already_sent": "once", "expired": "valid", "holdout": "holdout", "onboarding_protection": "protection",
    "held_by_sales": "hold", "paused": "pause", "quiet_hours": "quiet_hours", "capped": "frequency",
}  # fmt: skip

# What put a message off that still waits (`Message.waits_for`); all gates ask it again at that moment.
WAITS = {
    "onboarding_protection": _("The person is new to something and left in peace; it is asked again on %(moment)s."),
    "held_by_sales": _("Sales holds marketing for this person; it is asked again on %(moment)s."),
    "paused": _("The person asked for a pause; it is asked again on %(moment)s."),
    "quiet_hours": _("It is quiet where the person lives; it is asked again on %(moment)s."),
    "frequency": _("The person has had enough messages of ours for now; it is asked again on %(moment)s."),
    "throttle": _("It is late, and what is late leaves at a throttle; its turn comes on %(moment)s."),
}

REASONS = GATES | DELIVERY | WAITING | WITHDRAWN


def sentence(reason: str) -> str:
    """The reason in words; a reason that an app above brought along is shown as it stands."""
    return str(REASONS.get(reason, reason))
