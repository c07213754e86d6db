"""What was backfilled is dropped."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("vault", "0003_first_versions")]

    operations = [
        migrations.RemoveField(model_name="secret", name="key_id"),
        migrations.RemoveField(model_name="secret", name="sealed"),
    ]
