import django.db.models.deletion
from django.db import migrations, models

from services.kit.orgpg.operations import reference_within_tenant


class Migration(migrations.Migration):

    dependencies = [
        ('agents', '0004_model_rules'),
        ('media', '0002_files_of_agents'),
    ]

    operations = [
        migrations.AddField(
            model_name='inboundfile',
            name='agent',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='agents.agent'),
        ),
        reference_within_tenant("inbound_file", "agent_id", "agent"),
    ]
