"""How a backtest is asked for, by the page and by REST."""

from datetime import timedelta
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy

from scoring import backtest

# Who waits for an answer does not wait longer; the command has time.
LIMIT = timedelta(seconds=30)


class Asked(forms.Form):
    """How history is asked; what is left out is as it is by default."""

    by = forms.ChoiceField(
        label=gettext_lazy("Look at"),
        choices=[
            (backtest.DATES, gettext_lazy("everybody, at fixed dates")),
            (backtest.HANDOFF, gettext_lazy("each person, at the hand-off to sales")),
        ],
        required=False,
        initial=backtest.DATES,
    )
    days = forms.IntegerField(
        label=gettext_lazy("Won is who became a customer within (days)"),
        min_value=7, max_value=730, required=False, initial=90,
    )  # fmt: skip
    per_week = forms.FloatField(
        label=gettext_lazy("People that sales can take in a week"),
        min_value=0, max_value=1_000_000, required=False,
        help_text=gettext_lazy("empty: the threshold that parts best"),
    )  # fmt: skip

    def asked(self) -> dict[str, Any]:
        """The parameters of a backtest."""
        given = self.cleaned_data
        window = timedelta(days=given["days"] or 90)
        period = max(backtest.PERIOD, window)
        return {"by": given["by"] or backtest.DATES, "window": window, "period": period, "per_week": given["per_week"]}
