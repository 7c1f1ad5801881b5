import datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('scoring', '0010_numbers_into_bounds'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='scoregroup',
            name='group_cap_is_not_negative',
        ),
        migrations.RemoveConstraint(
            model_name='scorerule',
            name='cap_per_day_is_not_negative',
        ),
        migrations.AddConstraint(
            model_name='scoregroup',
            constraint=models.CheckConstraint(condition=models.Q(('cap_per_day', 0), models.Q(('cap_per_day__gte', 0.001), ('cap_per_day__lte', 1000000.0)), _connector='OR'), name='group_cap_is_not_negative', violation_error_message='At most a day: 0, or a number from 0.001 to 1,000,000.'),
        ),
        migrations.AddConstraint(
            model_name='scoremodel',
            constraint=models.CheckConstraint(condition=models.Q(('qualify_at', None), models.Q(('qualify_at__gte', -1000000.0), ('qualify_at__lte', 1000000.0)), _connector='OR'), name='qualify_at_is_a_usual_number', violation_error_message='Qualified from: a number from -1,000,000 to 1,000,000.'),
        ),
        migrations.AddConstraint(
            model_name='scoremodel',
            constraint=models.CheckConstraint(condition=models.Q(('hysteresis__gte', 0), ('hysteresis__lte', 1000000.0)), name='hysteresis_is_not_negative', violation_error_message='Hysteresis: a number from 0 to 1,000,000.'),
        ),
        migrations.AddConstraint(
            model_name='scorerule',
            constraint=models.CheckConstraint(condition=models.Q(('cap_per_day', None), ('cap_per_day', 0), models.Q(('cap_per_day__gte', 0.001), ('cap_per_day__lte', 1000000.0)), _connector='OR'), name='cap_per_day_is_not_negative', violation_error_message='At most a day: 0, or a number from 0.001 to 1,000,000.'),
        ),
        migrations.AddConstraint(
            model_name='scorerule',
            constraint=models.CheckConstraint(condition=models.Q(('points', 0), models.Q(('points__gte', 0.001), ('points__lte', 1000000.0)), models.Q(('points__gte', -1000000.0), ('points__lte', -0.001)), _connector='OR'), name='points_are_a_usual_number', violation_error_message='Points: 0, or a number from 0.001 to 1,000,000, or as much below 0.'),
        ),
        migrations.AlterConstraint(
            model_name='scorerule',
            name='half_life_is_an_hour_or_more',
            constraint=models.CheckConstraint(condition=models.Q(('half_life', None), ('half_life__gte', datetime.timedelta(seconds=3600)), _connector='OR'), name='half_life_is_an_hour_or_more', violation_error_message='Half-life: an hour or more.'),
        ),
    ]
