"""Putting on record who signed in, who failed to, and how an account can be opened from now on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from allauth.account.signals import password_changed, password_reset, password_set
from allauth.mfa.signals import authenticator_added, authenticator_removed, authenticator_reset
from allauth.socialaccount.signals import social_account_added, social_account_removed

from services.domain.audit.models import AuditAction
from services.domain.identity.accounts import all_tenants_record_account
from services.domain.identity.models import User


def record_sign_in(user: User, methods: Sequence[str]) -> None:
    """Note a session that began, with the steps that were passed."""
    all_tenants_record_account(user, AuditAction.SIGN_IN_SUCCEEDED, methods=list(methods))


def record_failure(email: str, reason: str) -> None:
    """Note a failed attempt at an account; one at an address without an account concerns nobody."""
    user = User.objects.using("operator").filter(email=email.strip().lower()).first()
    if user is not None:
        all_tenants_record_account(user, AuditAction.SIGN_IN_FAILED, reason=reason)


def connect() -> None:
    """Listen to what allauth says has changed: it has no other door for that."""
    for signal in (password_changed, password_reset, password_set):
        signal.connect(_on_password, dispatch_uid=f"audit-{id(signal)}")
    authenticator_added.connect(_on_factor_added, dispatch_uid="audit-factor-added")
    authenticator_reset.connect(_on_factor_reset, dispatch_uid="audit-factor-reset")
    authenticator_removed.connect(_on_factor_removed, dispatch_uid="audit-factor-removed")
    social_account_added.connect(_on_identity_added, dispatch_uid="audit-identity-added")
    social_account_removed.connect(_on_identity_removed, dispatch_uid="audit-identity-removed")


def _on_password(user: User, **_: Any) -> None:
    all_tenants_record_account(user, AuditAction.PASSWORD_CHANGED)


def _on_factor_added(user: User, authenticator: Any, **_: Any) -> None:
    all_tenants_record_account(user, AuditAction.FACTOR_ADDED, factor=str(authenticator.type))


def _on_factor_reset(user: User, authenticator: Any, **_: Any) -> None:
    all_tenants_record_account(user, AuditAction.RECOVERY_CODES_MADE, factor=str(authenticator.type))


def _on_factor_removed(user: User, authenticator: Any, **_: Any) -> None:
    all_tenants_record_account(user, AuditAction.FACTOR_REMOVED, factor=str(authenticator.type))


def _on_identity_added(sociallogin: Any, **_: Any) -> None:
    all_tenants_record_account(
        sociallogin.user, AuditAction.IDENTITY_LINKED, provider=str(sociallogin.account.provider)
    )


def _on_identity_removed(socialaccount: Any, **_: Any) -> None:
    all_tenants_record_account(
        socialaccount.user, AuditAction.IDENTITY_UNLINKED, provider=str(socialaccount.provider)
    )
