import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('identity', '0006_invitations'),
    ]

    operations = [
        migrations.CreateModel(
            name='SignedNonce',
            fields=[
                ('digest', models.CharField(max_length=64, primary_key=True, serialize=False)),
                ('expires_at', models.DateTimeField()),
            ],
            options={
                'db_table': 'signed_nonce',
            },
        ),
        migrations.AddField(
            model_name='apitoken',
            name='agent_ids',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), null=True, size=None),
        ),
        migrations.AddField(
            model_name='apitoken',
            name='kind',
            field=models.CharField(choices=[('bearer', 'Bearer'), ('signing', 'Signing')], db_default='bearer', max_length=7),
        ),
        migrations.AddField(
            model_name='apitoken',
            name='previous_hash',
            field=models.CharField(blank=True, db_default='', max_length=64),
        ),
        migrations.AddField(
            model_name='apitoken',
            name='previous_sealed',
            field=models.BinaryField(null=True),
        ),
        migrations.AddField(
            model_name='apitoken',
            name='previous_until',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='apitoken',
            name='rotated_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='apitoken',
            name='sealed',
            field=models.BinaryField(null=True),
        ),
        migrations.AddIndex(
            model_name='apitoken',
            index=models.Index(condition=models.Q(('previous_hash', ''), _negated=True), fields=['previous_hash'], name='api_token_before'),
        ),
        migrations.AddIndex(
            model_name='signednonce',
            index=models.Index(fields=['expires_at'], name='signed_nonce_old'),
        ),
        # Only whoever looks after requests before their tenant is known needs it.
        migrations.RunSQL(
            sql="REVOKE ALL ON signed_nonce FROM slipway_app",
            reverse_sql="GRANT SELECT, INSERT, UPDATE, DELETE ON signed_nonce TO slipway_app",
        ),
    ]
