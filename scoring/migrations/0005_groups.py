import django.db.models.deletion
from django.db import migrations, models

# A rule's group is one of its own score: no column can say so alone.
OF_ITS_SCORE = """
ALTER TABLE scoring_scoregroup ADD CONSTRAINT score_group_of_a_score UNIQUE (id, model_id);
ALTER TABLE scoring_scorerule ADD CONSTRAINT rule_in_a_group_of_its_score FOREIGN KEY (group_id, model_id)
    REFERENCES scoring_scoregroup (id, model_id) DEFERRABLE INITIALLY DEFERRED
"""
OF_ANY_SCORE = """
ALTER TABLE scoring_scorerule DROP CONSTRAINT rule_in_a_group_of_its_score;
ALTER TABLE scoring_scoregroup DROP CONSTRAINT score_group_of_a_score
"""


class Migration(migrations.Migration):
    dependencies = [
        ("scoring", "0004_fewer_indexes"),
    ]

    operations = [
        migrations.CreateModel(
            name="ScoreGroup",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.SlugField(max_length=64, verbose_name="key")),
                ("name", models.TextField(blank=True, default="", verbose_name="name")),
                (
                    "cap_per_day",
                    models.FloatField(help_text="points of all its rules together", verbose_name="at most a day"),
                ),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="groups",
                        to="scoring.scoremodel",
                        verbose_name="score",
                    ),
                ),
            ],
            options={
                "verbose_name": "group of score rules",
                "verbose_name_plural": "groups of score rules",
                "ordering": ["model", "key"],
            },
        ),
        migrations.AddConstraint(
            model_name="scoregroup",
            constraint=models.UniqueConstraint(fields=("model", "key"), name="score_group_key_once"),
        ),
        migrations.AddConstraint(
            model_name="scoregroup",
            constraint=models.CheckConstraint(
                condition=models.Q(("cap_per_day__gte", 0)), name="group_cap_is_not_negative"
            ),
        ),
        migrations.AddField(
            model_name="scorerule",
            name="group",
            field=models.ForeignKey(
                blank=True,
                help_text="rules that share a cap",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="rules",
                to="scoring.scoregroup",
                verbose_name="group",
            ),
        ),
        migrations.RunSQL(OF_ITS_SCORE, OF_ANY_SCORE),
    ]
