from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ScoringConfig(AppConfig):
    name = "scoring"
    verbose_name = _("Scoring")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from contacts.beside import offer_page, show_beside_stage
        from contacts.explaining import register_explanation
        from contacts.merging import settle_by
        from contacts.panels import register_filter, register_panel
        from contacts.retention import register_reader_of_history
        from contacts.rulefields import register_field
        from contacts.rules import register_leaf
        from contacts.segments import register_rules
        from contacts.turning import register_turn
        from contacts.undoing import goes_along
        from scoring.beside import GradeFilter, panel
        from scoring.definitions import asking, rules
        from scoring.explaining import explain_grade, explain_score
        from scoring.fading import next_turn_of_grade, next_turn_of_score
        from scoring.gradeleaf import GradeIs
        from scoring.leaf import ScoreIs
        from scoring.models import ContactPrediction, ContactScore, ScoreEntry, StageChange
        from scoring.phases import FIELD as PHASE
        from scoring.points import SQL
        from scoring.prediction import FIELD as PREDICTION
        from scoring.prediction_beside import panel as prediction_panel
        from scoring.stages import OVERDUE

        register_leaf("score", ScoreIs)
        register_field(PREDICTION)
        register_turn(ScoreIs, next_turn_of_score)
        register_leaf("grade", GradeIs)
        register_turn(GradeIs, next_turn_of_grade)
        register_field(PHASE)
        register_field(OVERDUE)
        show_beside_stage("phase")
        offer_page(_("Change stage…"), "admin:scoring_stagechange_set", "scoring.request_stage")
        register_explanation("score", explain_score, "scoring.view_contactscore")
        register_explanation("grade", explain_grade, "scoring.view_contactscore")
        register_panel(panel)
        register_panel(prediction_panel)
        register_filter(GradeFilter)
        for computed in (ScoreEntry, ContactScore, ContactPrediction, StageChange):
            goes_along(computed)
        book_days = SQL["book_days"]
        settle_by(SQL["settle_ledger"].filled(book_days=book_days), undo=SQL["part_ledger"].filled(book_days=book_days))
        settle_by(SQL["settle_scores"], undo=SQL["part_scores"])
        settle_by(SQL["mark_stages"], undo=SQL["unmark_stages"])
        register_reader_of_history(asking)
        register_rules(rules)
