from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('llm', '0002_security_and_money'),
    ]

    operations = [
        migrations.AddField(
            model_name='llmpolicy',
            name='transcriber',
            field=models.CharField(blank=True, db_default='', default='', max_length=100),
        ),
    ]
