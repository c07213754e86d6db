"""Everything that changes organisations, members and tokens, by the names that callers import."""

from __future__ import annotations

from services.domain.identity.members import add_member, change_role, leave_organisation, remove_member
from services.domain.identity.organisations import (
    all_tenants_create_organisation,
    all_tenants_resume_organisation,
    all_tenants_set_active,
    all_tenants_suspend_organisation,
)
from services.domain.identity.tokens import (
    DEFAULT_TOKEN_LIFE,
    LONGEST_TOKEN_LIFE,
    create_token,
    revoke_token,
)

__all__ = [
    "DEFAULT_TOKEN_LIFE",
    "LONGEST_TOKEN_LIFE",
    "add_member",
    "all_tenants_create_organisation",
    "all_tenants_resume_organisation",
    "all_tenants_set_active",
    "all_tenants_suspend_organisation",
    "change_role",
    "create_token",
    "leave_organisation",
    "remove_member",
    "revoke_token",
]
