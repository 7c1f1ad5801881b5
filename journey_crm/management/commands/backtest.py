"""`manage.py backtest SCORE`: what history says of a score, and the threshold it proposes."""

import json
from datetime import timedelta

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from scoring import backtest
from scoring.models import ScoreModel


class Command(BaseCommand):
    help = "Asks history whether a score tells who becomes a customer, and from how many points on. Changes nothing."

    def add_arguments(self, parser) -> None:
        parser.add_argument("score", metavar="SCORE", help="the key of a score")
        parser.add_argument("--days", type=int, default=90, help="won is who became a customer within so many days")
        parser.add_argument("--handoff", action="store_true", help="look at people at the hand-off, not at fixed dates")
        parser.add_argument("--per-week", type=float, metavar="N", help="the threshold for so many people a week")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, **options) -> None:
        score = ScoreModel.objects.filter(key=options["score"]).first()
        if score is None:
            raise CommandError(f"There is no score with the key “{options['score']}”.")
        if not 1 <= options["days"] <= 3650:
            raise CommandError("--days: a whole number from 1 to 3650.")
        if options["per_week"] is not None and not 0 <= options["per_week"] < 1e9:
            raise CommandError("--per-week: a number, 0 or more.")
        window = timedelta(days=options["days"])
        found = backtest.backtest(
            score,
            timezone.now(),
            by=backtest.HANDOFF if options["handoff"] else backtest.DATES,
            window=window,
            period=max(backtest.PERIOD, window),
            per_week=options["per_week"],
        )
        if options["json"]:
            self.stdout.write(json.dumps(backtest.as_data(found), ensure_ascii=False))
            return
        for sentence in (backtest.verdict(found), *backtest.comparison(found)):
            self.stdout.write(sentence)
        if found.auc is None:
            return
        low, high = found.interval()
        self.stdout.write(
            f"AUC {found.auc:.3f} ({low:.2f}–{high:.2f}), lift {found.lift:.1f}, {found.won} won, {found.lost} lost"
        )
        for _score, step in sorted({one.score: one for one in found.tenths.values()}.items(), reverse=True):
            self.stdout.write(
                f"from {step.at}: {step.people} people, {found.a_week(step):.1f} a week, {step.won_over} customers, "
                f"precision {step.precision:.0%}, recall {found.recall(step):.0%}"
            )
