"""The signatures of the hook calls that named a run, so that none of them fires another one."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("playbooks", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="playbookrun",
            name="signatures",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=64),
                blank=True,
                default=list,
                help_text="Of the hook's calls that named this run.",
                size=None,
            ),
        ),
    ]
