"""Grades: a letter of fit and a number of engagement."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models


# Bounds of a grade: from one to eight numbers, each smaller than the one before it.
BOUNDS_FALL = """
CREATE FUNCTION bounds_fall(bounds float8[]) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT cardinality(bounds) BETWEEN 1 AND 8 AND array_position(bounds, NULL) IS NULL AND NOT EXISTS (
        SELECT FROM generate_subscripts(bounds, 1) AS place WHERE bounds[place] <= bounds[place + 1]
    )
$$
"""


class Migration(migrations.Migration):

    dependencies = [
        ('scoring', '0006_faster_ledger'),
    ]

    operations = [
        migrations.RunSQL(BOUNDS_FALL, "DROP FUNCTION bounds_fall(float8[])"),
        migrations.CreateModel(
            name='GradeMatrix',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.SlugField(max_length=64, unique=True, verbose_name='key')),
                ('name', models.TextField(blank=True, default='', verbose_name='name')),
                ('fit_from', django.contrib.postgres.fields.ArrayField(base_field=models.FloatField(), help_text='points of fit from which somebody is an A, a B, …, such as 60, 30; everybody else comes behind', size=8, verbose_name='letters from')),
                ('engagement_from', django.contrib.postgres.fields.ArrayField(base_field=models.FloatField(), help_text='points of engagement from which somebody is a 1, a 2, …, such as 50, 20', size=8, verbose_name='numbers from')),
                ('engagement', models.ForeignKey(limit_choices_to={'kind': 'engagement'}, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='scoring.scoremodel', verbose_name='engagement score')),
                ('fit', models.ForeignKey(limit_choices_to={'kind': 'fit'}, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='scoring.scoremodel', verbose_name='fit score')),
            ],
            options={
                'verbose_name': 'grade matrix',
                'verbose_name_plural': 'grades',
                'ordering': ['key'],
                'constraints': [models.CheckConstraint(condition=models.Func(models.F('fit_from'), function='bounds_fall', output_field=models.BooleanField()), name='grade_fit_from_falls', violation_error_message='Letters: from one to eight numbers, each smaller than the one before it.'), models.CheckConstraint(condition=models.Func(models.F('engagement_from'), function='bounds_fall', output_field=models.BooleanField()), name='grade_engagement_from_falls', violation_error_message='Numbers: from one to eight numbers, each smaller than the one before it.')],
            },
        ),
    ]
