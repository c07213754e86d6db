"""The log of secrets becomes the log of all credentials. Its policies and grants, append-only, stay with the table."""

from django.db import migrations, models

_OF_ONE = ("secret_access_of_secret", "credential_access_of_one")


class Migration(migrations.Migration):
    dependencies = [("vault", "0004_values_are_versions")]

    operations = [
        migrations.RenameModel(old_name="SecretAccess", new_name="CredentialAccess"),
        migrations.AlterModelTable(name="credentialaccess", table="credential_access"),
        # Its columns get their new names below: the index is renamed and not built anew.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    sql="ALTER INDEX {} RENAME TO {}".format(*_OF_ONE),
                    reverse_sql="ALTER INDEX {1} RENAME TO {0}".format(*_OF_ONE),
                )
            ],
            state_operations=[migrations.RemoveIndex(model_name="credentialaccess", name=_OF_ONE[0])],
        ),
        migrations.RenameField(
            model_name="credentialaccess", old_name="secret_id", new_name="credential_id"
        ),
        migrations.RenameField(
            model_name="credentialaccess", old_name="secret_name", new_name="credential_name"
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AddIndex(
                    model_name="credentialaccess",
                    index=models.Index(fields=["org_id", "credential_id", "-id"], name=_OF_ONE[1]),
                )
            ],
        ),
        migrations.RenameIndex(
            model_name="credentialaccess", old_name="secret_access_old", new_name="credential_access_old"
        ),
        migrations.AddField(
            model_name="credentialaccess",
            name="credential_kind",
            field=models.CharField(
                choices=[
                    ("secret", "Secret"),
                    ("mcp_server", "Mcp Server"),
                    ("account", "Account"),
                    ("model_key", "Model Key"),
                ],
                default="secret",
                max_length=12,
            ),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name="credentialaccess", name="version", field=models.PositiveIntegerField(null=True)
        ),
        migrations.AlterField(
            model_name="credentialaccess",
            name="way",
            field=models.CharField(
                choices=[
                    ("env", "Env"),
                    ("egress", "Egress"),
                    ("upstream", "Upstream"),
                    ("model", "Model"),
                    ("check", "Check"),
                    ("revoke", "Revoke"),
                ],
                max_length=10,
            ),
        ),
    ]
