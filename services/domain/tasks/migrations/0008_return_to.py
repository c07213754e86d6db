import django.db.models.deletion
from django.db import migrations, models

from services.kit.orgpg.operations import reference_within_tenant


class Migration(migrations.Migration):

    dependencies = [
        ('tasks', '0007_traceparent'),
        ('workspaces', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='task',
            name='return_to',
            field=models.ForeignKey(blank=True, help_text='The workspace of the agent that asked for it, to which its answer goes.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='workspaces.workspace'),
        ),
        reference_within_tenant("task", "return_to_id", "workspace"),
    ]
