from django.db import migrations

# What stands beyond them stops the scores of everybody; the nearest number that does not is what was meant.
INTO_BOUNDS = """
UPDATE scoring_scoremodel SET qualify_at = greatest(-1e6, least(1e6, qualify_at)) WHERE qualify_at IS NOT NULL;
UPDATE scoring_scoremodel SET hysteresis = greatest(0, least(1e6, hysteresis));
UPDATE scoring_scorerule SET points = greatest(-1e6, least(1e6, points));
UPDATE scoring_scorerule SET points = sign(points) * 0.001 WHERE points <> 0 AND abs(points) < 0.001;
UPDATE scoring_scorerule SET cap_per_day = greatest(0.001, least(1e6, cap_per_day)) WHERE cap_per_day <> 0;
UPDATE scoring_scoregroup SET cap_per_day = greatest(0.001, least(1e6, cap_per_day)) WHERE cap_per_day <> 0
"""


class Migration(migrations.Migration):
    dependencies = [("scoring", "0009_predictions")]

    operations = [migrations.RunSQL(INTO_BOUNDS, migrations.RunSQL.noop)]
