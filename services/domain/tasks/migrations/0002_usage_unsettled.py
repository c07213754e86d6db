"""An index of the model calls that are not settled, for the sweep that settles abandoned ones."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tasks", "0001_initial")]

    operations = [
        migrations.AddIndex(
            model_name="usagerecord",
            index=models.Index(
                condition=models.Q(("cost_microusd", None)), fields=["created_at"], name="usage_unsettled"
            ),
        ),
    ]
