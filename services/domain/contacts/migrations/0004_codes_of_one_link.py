import django.db.models.deletion
from django.db import migrations, models

from services.kit.orgpg.operations import reference_within_tenant


class Migration(migrations.Migration):

    dependencies = [
        ('chats', '0007_thread_claims'),
        ('contacts', '0003_accounts_without_a_chat'),
    ]

    operations = [
        migrations.AddField(
            model_name='accountcode',
            name='link',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='chats.link'),
        ),
        reference_within_tenant("account_code", "link_id", "link"),
    ]
