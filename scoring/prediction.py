"""What the version in use says: of everybody, written by the database from its numbers; of one contact, with why."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, FloatField, OuterRef, Subquery
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from contacts.models import Contact
from contacts.rulefields import RuleField
from contacts.rulewords import say_value
from contacts.stages import STAGES
from contacts.timeline import TITLES
from scoring.history import SQL, looked_at, parts
from scoring.models import ContactPrediction, PredictionModel, ScoreModel, ScoreRule
from scoring.training import OWN

# So many ids at a time, each a transaction of its own: nobody waits long behind it.
SLICE = 20_000
EVERY = timedelta(hours=1)
_SHOWN = 5
_FEATURES = ("feature_values", "observations", "observed_scores")

# Asked as {field: prediction, op: gte, value: 0.3}. It changes without any news of the person.
FIELD = RuleField(
    "prediction",
    "number",
    lambda now: Subquery(
        ContactPrediction.objects.filter(contact=OuterRef("pk")).values("value"), output_field=FloatField()
    ),
    gettext_lazy("Chance of becoming a customer (0 to 1)"),
    group=gettext_lazy("Scores"),
    has_time=True,
)


_NAMES = {
    "fresh": gettext_lazy("Seen lately"),
    "in stage": gettext_lazy("Time in the stage"),
    "age": gettext_lazy("Time since first seen"),
}


# Everybody -----------------------------------------------------------------------------------------------------------


def predict(now: datetime, version: PredictionModel | None = None) -> int:
    """Writes what the version in use says of everybody who is known and no customer; how many that is.

    Without a version in use nobody has a prediction. A set of people a transaction; safe to run at any time and twice.
    """
    version = version or PredictionModel.objects.live().first()
    if version is None:
        ContactPrediction.objects.all().delete()
        return 0
    names, weights, base = _weights(version)
    last, written = Contact.objects.order_by("-pk").values_list("pk", flat=True).first() or 0, 0
    for first in range(0, last + 1, SLICE):
        which = {"first": first, "last": first + SLICE - 1}
        with transaction.atomic():
            asked = looked_at([now], version.window, **which)
            written += SQL["store_predictions"].run(
                fragments=parts(*_FEATURES), **asked, **OWN, model=None,
                names=names, weights=weights, base=base, version=version.pk, now=now,
            )  # fmt: skip
            SQL["drop_predictions_of_the_gone"].run(first=asked["first"], last=asked["last"])
    return written


def predict_if_due(now: datetime) -> int | None:
    """Writes the predictions anew where another version is in use, or those there are are an hour old."""
    version = PredictionModel.objects.live().first()
    some = ContactPrediction.objects.order_by("computed_at").values_list("model_id", "computed_at").first()
    if version is None and some is None:
        return None
    if version and some and some[0] == version.pk and now - some[1] < EVERY:
        return None
    return predict(now, version)


def _weights(version: PredictionModel) -> tuple[list[str], list[float], float]:
    """The model as a sum over what is not nothing: the weight of each feature, and what everybody begins with."""
    rows = list(zip(version.coefficients, version.means, version.scales, strict=True))
    weights = [version.slope * coefficient / scale for coefficient, _mean, scale in rows]
    nothing = sum(coefficient * mean / scale for coefficient, mean, scale in rows)
    return version.features, weights, version.slope * (version.intercept - nothing) + version.shift


# One contact ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contribution:
    """What one thing about a contact adds to the chance against the average, in percentage points; negative: takes."""

    points: float
    says: str

    def __str__(self) -> str:
        return _("%(points)s pp: %(what)s") % {"points": self.signed, "what": self.says}

    @property
    def signed(self) -> str:
        """The points with their sign: +18, −4."""
        return f"{'+' if self.points >= 0 else '−'}{abs(round(self.points))}"


@dataclass(frozen=True)
class Prediction:
    """The chance (0 to 1) that a contact becomes a customer within the window, as of `at`, and what weighs most."""

    value: float
    at: datetime
    version: PredictionModel
    contributions: list[Contribution]

    @property
    def percent(self) -> int:
        return round(100 * self.value)

    @property
    def in_short(self) -> str:
        """For a chip."""
        return _("%(percent)d %% to become a customer") % {"percent": self.percent}

    @property
    def says(self) -> str:
        told = ngettext(
            "%(percent)d %% chance to become a customer within %(days)d day",
            "%(percent)d %% chance to become a customer within %(days)d days",
            self.version.window.days,
        )
        return told % {"percent": self.percent, "days": self.version.window.days}


@dataclass(frozen=True)
class Ready:
    """The version in use with its words: the same for everybody, so that who asks often may keep it for a while."""

    version: PredictionModel
    words: "_Words"


def ready() -> Ready | None:
    """What it takes to say a chance; None where no version is in use."""
    version = PredictionModel.objects.live().first()
    return Ready(version, _Words.read(version.features)) if version else None


def prediction_of(contact: Contact, now: datetime, most: int = _SHOWN, known: Ready | None = None) -> Prediction | None:
    """What the version in use says of a contact at this moment, with the `most` weightiest contributions.

    None where no version is in use, and of visitors, customers and whoever else nobody asks about. One statement over
    the contact's own rows for whoever has what `ready` answered.
    """
    known = known or ready()
    if known is None:
        return None
    version, words = known.version, known.words
    rows = SQL["contact_features"].rows(
        fragments=parts(*_FEATURES), model=None, **OWN,
        **looked_at([now], version.window, first=contact.pk, last=contact.pk),
    )  # fmt: skip
    if not rows:
        return None
    facts = dict(rows)
    names, weights, base = _weights(version)
    figure = base + sum(facts.get(name, 0.0) * weight for name, weight in zip(names, weights, strict=True))
    value = _chance(figure)
    # The same act within 14 and 90 days is one thing to say.
    parts_of: dict[str, list[tuple[float, str]]] = {}
    for name, weight, mean in zip(names, weights, version.means, strict=True):
        parts_of.setdefault(_subject(name), []).append((weight * (facts.get(name, 0.0) - mean), name))
    found = [
        Contribution(100 * (value - _chance(figure - sum(one for one, _name in some))), words.say(subject, some, facts))
        for subject, some in parts_of.items()
    ]
    found.sort(key=lambda one: (-abs(one.points), one.says))
    return Prediction(value, now, version, [one for one in found[:most] if abs(one.points) >= 0.5])


def _chance(figure: float) -> float:
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, figure))))


def _subject(name: str) -> str:
    """What a feature is about, without its days: “did page.viewed 14” → “did page.viewed”."""
    return name.rpartition(" ")[0] if name.startswith(("did ", "rule ")) else name


@dataclass(frozen=True)
class _Words:
    """What rules and scores are called."""

    rules: dict[str, str]
    scores: dict[str, str]

    @classmethod
    def read(cls, features: Iterable[str]) -> "_Words":
        if any(one.startswith(("rule ", "score ")) for one in features):
            rules = ScoreRule.objects.annotate(score=F("model__key")).values_list("score", "key", "name")
            return cls(
                {f"rule {score}/{key}": name or key for score, key, name in rules},
                {f"score {one.key}": str(one) for one in ScoreModel.objects.all()},
            )
        return cls({}, {})

    def name(self, subject: str) -> str:
        """What something is called, whatever its value."""
        kind, _space, what = subject.partition(" ")
        if kind == "rule":
            return self.rules.get(subject, what)
        if kind == "did":
            return str(TITLES.get(what, what))
        if kind == "score":
            return _("Score “%(name)s”") % {"name": self.scores.get(subject, what)}
        if kind == "stage":
            return _("In the stage “%(name)s”") % {"name": str(dict(STAGES).get(what, what))}
        if kind == "source":
            return _("Came from “%(name)s”") % {"name": what}
        return str(_NAMES[subject])

    def say(self, subject: str, some: list[tuple[float, str]], known: dict[str, float]) -> str:
        """The fact behind a contribution."""
        kind, _space, what = subject.partition(" ")
        if kind in ("did", "rule"):
            # Of the two spans, the one that weighs more.
            name = max(some, key=lambda one: abs(one[0]))[1]
            days = int(name.rpartition(" ")[2])
            times = round(math.expm1(known.get(name, 0.0)))
            called = self.name(subject)
            if not times:
                return _("%(what)s: not once in %(days)d days") % {"what": called, "days": days}
            told = ngettext(
                "%(what)s: once in %(days)d days", "%(what)s: %(count)d times in %(days)d days", times
            )  # fmt: skip
            return told % {"what": called, "count": times, "days": days}
        value = known.get(subject, 0.0)
        if kind == "score":
            points = math.copysign(math.expm1(abs(value)), value)
            return _("Score “%(name)s”: %(value)s") % {
                "name": self.scores.get(subject, what), "value": say_value(round(points)),
            }  # fmt: skip
        if subject == "fresh":
            if not value:
                return _("Not seen for 90 days")
            days = round(91 / math.exp(value) - 1)
            if not days:
                return _("Seen today")
            return ngettext("Last seen %(days)d day ago", "Last seen %(days)d days ago", days) % {"days": days}
        if kind == "stage":
            name = str(dict(STAGES).get(what, what))
            return _("In the stage “%(name)s”") % {"name": name} if value else _(
                "Not in the stage “%(name)s”"
            ) % {"name": name}  # fmt: skip
        if kind == "source":
            return _("Came from “%(name)s”") % {"name": what} if value else _(
                "Did not come from “%(name)s”"
            ) % {"name": what}  # fmt: skip
        days = round(math.expm1(value))
        if subject == "age":
            told = ngettext("First seen %(days)d day ago", "First seen %(days)d days ago", days)
        else:
            told = ngettext("In this stage for %(days)d day", "In this stage for %(days)d days", days)
        return told % {"days": days}


@dataclass(frozen=True)
class Weight:
    """What one usual step (a standard deviation) of something does to the odds: times so many."""

    odds: float
    says: str


def weights_in_words(version: PredictionModel) -> list[Weight]:
    """What a version goes by, the heaviest first."""
    words = _Words.read(version.features)
    sums: dict[str, float] = {}
    for name, coefficient in zip(version.features, version.coefficients, strict=True):
        # The same act within 14 and 90 days is one thing.
        sums[_subject(name)] = sums.get(_subject(name), 0.0) + version.slope * coefficient
    rows = sorted(sums.items(), key=lambda one: (-abs(one[1]), one[0]))
    return [Weight(math.exp(max(-50.0, min(50.0, figure))), words.name(subject)) for subject, figure in rows]


def as_data(found: Prediction | None) -> dict[str, Any] | None:
    """The same for the command and REST."""
    if found is None:
        return None
    return {
        "value": found.value, "at": found.at, "version": found.version.version, "says": found.says,
        "window_days": found.version.window.days,
        "contributions": [{"points": round(one.points, 2), "says": one.says} for one in found.contributions],
    }  # fmt: skip
