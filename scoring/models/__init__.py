"""The tables of this app, by subject; import them from here."""

from scoring.models.prediction import ContactPrediction, PredictionModel
from scoring.models.scores import ContactScore, ScoreEntry, ScoreModel, ScoreRule
from scoring.models.stages import StageChange, StageRule

__all__ = [
    "ContactPrediction",
    "ContactScore",
    "PredictionModel",
    "ScoreEntry",
    "ScoreModel",
    "ScoreRule",
    "StageChange",
    "StageRule",
]
