import services.kit.clock
import services.kit.ids
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('tenancy', '0001_row_level_security'),
    ]

    operations = [
        migrations.CreateModel(
            name='OutgoingLetter',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('to', models.EmailField(max_length=254)),
                ('sealed', models.BinaryField()),
                ('key_id', models.CharField(max_length=40)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
            ],
            options={
                'db_table': 'outgoing_letter',
            },
        ),
        # The tenants' role hands mail over and cannot read what waits: it may be another tenant's.
        migrations.RunSQL(
            sql="REVOKE SELECT, UPDATE, DELETE, TRUNCATE ON outgoing_letter FROM slipway_app",
            reverse_sql="GRANT SELECT, UPDATE, DELETE ON outgoing_letter TO slipway_app",
        ),
    ]
