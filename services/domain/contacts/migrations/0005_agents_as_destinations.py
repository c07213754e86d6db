import django.db.models.deletion
from django.db import migrations, models

from services.kit.orgpg.operations import reference_within_tenant

ONE_OF_THREE = (
    models.Q(chat__isnull=False, person__isnull=True, agent__isnull=True)
    | models.Q(chat__isnull=True, person__isnull=False, agent__isnull=True)
    | models.Q(chat__isnull=True, person__isnull=True, agent__isnull=False)
)


class Migration(migrations.Migration):

    dependencies = [
        ('agents', '0004_model_rules'),
        ('contacts', '0004_codes_of_one_link'),
    ]

    operations = [
        migrations.AddField(
            model_name='destination',
            name='agent',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='agents.agent'),
        ),
        migrations.RemoveConstraint(model_name='destination', name='destination_is_one_thing'),
        migrations.AddConstraint(
            model_name='destination',
            constraint=models.CheckConstraint(condition=ONE_OF_THREE, name='destination_is_one_thing'),
        ),
        reference_within_tenant("destination", "agent_id", "agent"),
    ]
