"""What is ours in allauth's flows: who may sign up, how mail goes out, what is sealed, what is recorded."""

from __future__ import annotations

import base64
import uuid
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from allauth.core import context as allauth_context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest

from services.api.signing.records import record_sign_in
from services.domain.errors import InvitationMissing
from services.domain.identity.invitations import Offer, all_tenants_find_offer
from services.domain.identity.models import User
from services.domain.identity.provisioning import all_tenants_join_by_provider
from services.domain.letters.posting import can_send, post_letter
from services.domain.vault.keyring import open_text, seal_text
from services.kit.environment import environment
from services.kit.origin import caller_address

INVITATION_KEY = "invitation"
"""The session's key that holds the text of the invitation that somebody came with."""
_FACTORS = uuid.UUID("6f1d3c0e-6a53-4a33-9a1c-5b7f4b1d2e01")


def find_offer(request: HttpRequest) -> Offer | None:
    """Return the open invitation that a visitor came with."""
    text = request.session.get(INVITATION_KEY)
    try:
        return all_tenants_find_offer(text) if text else None
    except InvitationMissing:
        return None


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth carries no annotations that mypy sees
    """Accounts: open to all or to the invited, told by mail from the outbox, recorded in the audit log."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Say whether this visitor may make an account."""
        return environment().sign_up == "open" or find_offer(request) is not None

    def clean_email(self, email: str) -> str:
        """Hold an invited visitor to the address that was invited, where that is why they may sign up."""
        request = allauth_context.request
        cleaned = str(super().clean_email(email)).lower()
        if environment().sign_up != "open" and request is not None and not request.user.is_authenticated:
            offer = find_offer(request)
            if offer is not None and offer.email and offer.email != cleaned:
                raise ValidationError("The invitation is for another address.")
        return cleaned

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Hand a mail to the outbox; without a mail server there is none to hand it to."""
        if not can_send():
            return
        request = allauth_context.request
        message = self.render_mail(template_prefix, email, {"request": request, "email": email, **context})
        with transaction.atomic(using="operator"):
            post_letter(email, str(message.subject), str(message.body), using="operator")

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the address as our own proxies saw it."""
        return caller_address(request.META, proxies=environment().proxies)

    def login(self, request: HttpRequest, user: User) -> None:
        """Start the session, once every step is passed."""
        methods = [entry["method"] for entry in request.session.get("account_authentication_methods", ())]
        super().login(request, user)
        record_sign_in(user, methods)


class ProviderAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """Accounts at identity providers. Who comes from a provider that the operator has set up may have an account."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        """Let people in whom the provider vouches for by an address of their own, checked there."""
        return any(address.verified for address in sociallogin.email_addresses)

    def populate_user(self, request: HttpRequest, sociallogin: Any, data: dict[str, Any]) -> Any:
        """Take over the name."""
        user = super().populate_user(request, sociallogin, data)
        user.email = user.email.lower()
        user.display_name = str(data.get("name") or "")[:120]
        return user

    def save_user(self, request: HttpRequest, sociallogin: Any, form: Any = None) -> Any:
        """Make the account, and a member of the organisation whose provider it is."""
        user = super().save_user(request, sociallogin, form)
        settings = sociallogin.provider.app.settings
        if settings.get("organisation"):
            all_tenants_join_by_provider(
                user,
                settings["organisation"],
                settings["role"],
                provider=sociallogin.provider.app.provider_id,
            )
        return user

    def send_notification_mail(self, *args: Any, **kwargs: Any) -> None:
        """Tell of it by mail as of everything else."""
        AccountAdapter().send_notification_mail(*args, **kwargs)


class FactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Second factors, whose secrets are sealed by the installation's keyring."""

    def encrypt(self, text: str) -> str:
        """Seal a secret."""
        sealed = seal_text(text, _FACTORS)
        return f"{sealed.key_id}:{base64.b64encode(sealed.blob).decode()}"

    def decrypt(self, encrypted_text: str) -> str:
        """Open a sealed secret. Raises: VaultError."""
        key_id, _, blob = encrypted_text.partition(":")
        return open_text(base64.b64decode(blob), key_id, _FACTORS)


def ensure_address(user: User) -> None:
    """Give an account that was made by an operator the checked address that allauth asks for."""
    if not EmailAddress.objects.filter(user_id=user.pk).exists():
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
