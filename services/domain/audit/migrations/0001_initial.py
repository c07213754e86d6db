import services.kit.clock
import services.kit.ids
from django.db import migrations, models

from services.kit.orgpg.operations import secure_table

APPEND_ONLY = migrations.RunSQL(
    sql=[
        "REVOKE UPDATE, DELETE, TRUNCATE ON audit_record FROM slipway_app, slipway_operator",
        # The one way out: what is old, or of an organisation whose time has come. The tables' owner alone may delete.
        "CREATE POLICY purge ON audit_record TO slipway_owner USING (true)",
        "CREATE POLICY purge ON organisation FOR SELECT TO slipway_owner USING (true)",
        """
        CREATE FUNCTION purge_audit(before timestamptz, of_org uuid) RETURNS bigint
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        DECLARE deleted bigint;
        BEGIN
            DELETE FROM audit_record
            WHERE created_at < LEAST(before, now() - interval '90 days') AND before IS NOT NULL
               OR org_id = of_org AND EXISTS (
                   SELECT 1 FROM organisation WHERE id = of_org AND deletion_due_at <= now()
               );
            GET DIAGNOSTICS deleted = ROW_COUNT;
            RETURN deleted;
        END $$
        """,
        "REVOKE ALL ON FUNCTION purge_audit(timestamptz, uuid) FROM PUBLIC",
        "GRANT EXECUTE ON FUNCTION purge_audit(timestamptz, uuid) TO slipway_operator",
    ],
    reverse_sql=[
        "DROP FUNCTION purge_audit(timestamptz, uuid)",
        "DROP POLICY purge ON organisation",
        "DROP POLICY purge ON audit_record",
    ],
)


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('tenancy', '0001_row_level_security'),
        ('identity', '0006_invitations'),
    ]

    operations = [
        migrations.CreateModel(
            name='AuditRecord',
            fields=[
                ('id', models.UUIDField(default=services.kit.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('org_id', models.UUIDField(editable=False)),
                ('created_at', models.DateTimeField(default=services.kit.clock.now, editable=False)),
                ('action', models.CharField(choices=[('organisation.created', 'Organisation Created'), ('organisation.renamed', 'Organisation Renamed'), ('organisation.suspended', 'Organisation Suspended'), ('organisation.resumed', 'Organisation Resumed'), ('organisation.exported', 'Organisation Exported'), ('organisation.deletion_planned', 'Organisation Deletion Planned'), ('organisation.deletion_cancelled', 'Organisation Deletion Cancelled'), ('member.added', 'Member Added'), ('member.role_changed', 'Member Role Changed'), ('member.removed', 'Member Removed'), ('member.left', 'Member Left'), ('invitation.created', 'Invitation Created'), ('invitation.accepted', 'Invitation Accepted'), ('invitation.revoked', 'Invitation Revoked'), ('token.created', 'Token Created'), ('token.rotated', 'Token Rotated'), ('token.revoked', 'Token Revoked'), ('sign_in.succeeded', 'Sign In Succeeded'), ('sign_in.failed', 'Sign In Failed'), ('session.ended', 'Signed Out'), ('session.revoked', 'Session Revoked'), ('password.changed', 'Password Changed'), ('factor.added', 'Factor Added'), ('factor.removed', 'Factor Removed'), ('recovery_codes.made', 'Recovery Codes Made'), ('identity.linked', 'Identity Linked'), ('identity.unlinked', 'Identity Unlinked'), ('account.closed', 'Account Closed'), ('account.reopened', 'Account Reopened'), ('account.deletion_planned', 'Account Deletion Planned'), ('account.deletion_cancelled', 'Account Deletion Cancelled'), ('agent_role.given', 'Agent Role Given'), ('agent_role.removed', 'Agent Role Removed'), ('secret.created', 'Secret Created'), ('secret.changed', 'Secret Changed'), ('secret.deleted', 'Secret Deleted'), ('integration.connected', 'Access Connected'), ('integration.changed', 'Access Changed'), ('integration.removed', 'Access Removed'), ('mcp_server.registered', 'Mcp Server Registered'), ('mcp_server.changed', 'Mcp Server Changed'), ('mcp_server.removed', 'Mcp Server Removed'), ('model_key.created', 'Model Key Created'), ('model_key.changed', 'Model Key Changed'), ('model_key.removed', 'Model Key Removed'), ('approval_rule.changed', 'Approval Rule Changed'), ('approval_rule.deleted', 'Approval Rule Deleted'), ('app.connected', 'App Connected'), ('app.disconnected', 'App Disconnected'), ('oauth_client.created', 'Client Created'), ('oauth_client.deleted', 'Client Deleted'), ('platform_account.linked', 'Platform Account Linked'), ('platform_account.unlinked', 'Platform Account Unlinked'), ('sender.decided', 'Sender Decided'), ('sender.forgotten', 'Sender Forgotten')], max_length=40)),
                ('actor_kind', models.CharField(max_length=10)),
                ('actor_id', models.UUIDField(null=True)),
                ('actor_name', models.CharField(blank=True, max_length=254)),
                ('token_id', models.UUIDField(null=True)),
                ('user_id', models.UUIDField(null=True)),
                ('subject_kind', models.CharField(blank=True, max_length=30)),
                ('subject_id', models.CharField(blank=True, max_length=80)),
                ('subject_name', models.CharField(blank=True, max_length=254)),
                ('reason', models.CharField(blank=True, max_length=60)),
                ('details', models.JSONField(default=dict)),
                ('address', models.CharField(blank=True, max_length=45)),
                ('device', models.CharField(blank=True, max_length=300)),
                ('request_id', models.CharField(blank=True, max_length=100)),
            ],
            options={
                'db_table': 'audit_record',
                'indexes': [models.Index(fields=['org_id', '-id'], name='audit_newest'), models.Index(fields=['org_id', 'action', '-id'], name='audit_of_action'), models.Index(fields=['org_id', 'user_id', '-id'], name='audit_of_person'), models.Index(fields=['org_id', 'subject_id', '-id'], name='audit_of_subject'), models.Index(fields=['created_at'], name='audit_old')],
            },
        ),
        secure_table('audit_record'),
        APPEND_ONLY,
    ]
