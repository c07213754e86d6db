from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tasks', '0009_answer_due'),
    ]

    operations = [
        migrations.AddField(
            model_name='task',
            name='agent_version',
            field=models.PositiveIntegerField(help_text='The version of the agent that did it.', null=True),
        ),
    ]
