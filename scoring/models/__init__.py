"""The tables of this app, by subject; import them from here."""

from scoring.models.grades import GradeMatrix
from scoring.models.prediction import ContactPrediction, PredictionModel
from scoring.models.scores import ContactScore, ScoreEntry, ScoreGroup, ScoreModel, ScoreRule
from scoring.models.stages import StageChange, StageRule

__all__ = [
    "ContactPrediction",
    "ContactScore",
    "GradeMatrix",
    "PredictionModel",
    "ScoreEntry",
    "ScoreGroup",
    "ScoreModel",
    "ScoreRule",
    "StageChange",
    "StageRule",
]
