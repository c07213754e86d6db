from django.db import migrations, models


class Migration(migrations.Migration):
    """Discord's references are longer than 200 characters, and of no use when they are cut."""

    dependencies = [
        ('questions', '0001_initial'),
    ]

    operations = [
        migrations.AlterField(
            model_name='buttonpress',
            name='press_ref',
            field=models.CharField(blank=True, max_length=400),
        ),
    ]
