from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("upstreams", "0002_stdio_servers")]

    operations = [
        migrations.AddField(
            model_name="upstreamserver", name="last_used_at", field=models.DateTimeField(null=True)
        ),
    ]
