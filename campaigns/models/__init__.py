"""The tables of this app, by subject; import them from here."""

from campaigns.models.entries import Candidate, DatesAsked, Occasion
from campaigns.models.experiments import Assignment, Pulse, Verdict
from campaigns.models.journeys import (
    Broadcast,
    CrossSellCampaign,
    Draft,
    FollowUp,
    Journey,
    JourneyVersion,
    Node,
    NodeExit,
    NurtureTrack,
    OnboardingSequence,
    WinBack,
)
from campaigns.models.people import Achievement, Behind, Due, Enrolment, Visit, Watch
from campaigns.models.sendouts import Sendout

__all__ = [
    "Achievement",
    "Assignment",
    "Behind",
    "Broadcast",
    "Candidate",
    "CrossSellCampaign",
    "DatesAsked",
    "Draft",
    "Due",
    "Enrolment",
    "FollowUp",
    "Journey",
    "JourneyVersion",
    "Node",
    "NodeExit",
    "NurtureTrack",
    "Occasion",
    "OnboardingSequence",
    "Pulse",
    "Sendout",
    "Verdict",
    "Visit",
    "Watch",
    "WinBack",
]
