from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('identity', '0003_scopes_of_registered_servers'),
    ]

    operations = [
        migrations.AddField(
            model_name='user',
            name='language',
            field=models.CharField(blank=True, db_default='', help_text='A tag such as pt-BR.', max_length=35),
        ),
    ]
