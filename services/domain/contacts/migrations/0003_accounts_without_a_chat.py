import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('contacts', '0002_unknown_senders'),
    ]

    operations = [
        migrations.AlterField(
            model_name='platformaccount',
            name='chat',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='chats.chat'),
        ),
    ]
