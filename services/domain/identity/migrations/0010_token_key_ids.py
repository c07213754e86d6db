from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('identity', '0009_exports'),
    ]

    operations = [
        migrations.AddField(
            model_name='apitoken',
            name='key_id',
            field=models.CharField(blank=True, db_default='', max_length=40),
        ),
        migrations.AddField(
            model_name='apitoken',
            name='previous_key_id',
            field=models.CharField(blank=True, db_default='', max_length=40),
        ),
    ]
