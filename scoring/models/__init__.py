"""The tables of this app, by subject; import them from here."""

from scoring.models.grades import GradeMatrix
from scoring.models.scores import ContactScore, ScoreEntry, ScoreGroup, ScoreModel, ScoreRule
from scoring.models.stages import StageChange, StageRule

__all__ = [
    "ContactScore",
    "GradeMatrix",
    "ScoreEntry",
    "ScoreGroup",
    "ScoreModel",
    "ScoreRule",
    "StageChange",
    "StageRule",
]
