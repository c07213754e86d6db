import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('media', '0001_initial'),
    ]

    operations = [
        migrations.AlterField(
            model_name='inboxfile',
            name='file',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='media.inboundfile'),
        ),
        migrations.AddField(
            model_name='inboxfile',
            name='key',
            field=models.CharField(blank=True, db_default='', max_length=200),
        ),
        migrations.AddField(
            model_name='inboxfile',
            name='path',
            field=models.CharField(blank=True, db_default='', max_length=300),
        ),
    ]
