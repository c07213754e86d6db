"""django-allauth's settings, from ours."""

from __future__ import annotations

from typing import Any

from services.kit.environment import Environment

APPS = [
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.mfa",
    "allauth.usersessions",
]


def allauth_settings(env: Environment, *, is_https: bool) -> dict[str, Any]:
    """Return the settings under the names that allauth reads."""
    has_mail = env.smtp_url is not None
    return {
        "ACCOUNT_ADAPTER": "services.api.signing.adapters.AccountAdapter",
        "ACCOUNT_USER_MODEL_USERNAME_FIELD": None,
        "ACCOUNT_LOGIN_METHODS": {"email"},
        "ACCOUNT_SIGNUP_FIELDS": ["email*", "password1*"],
        "ACCOUNT_EMAIL_VERIFICATION": "mandatory" if has_mail else "none",
        "ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED": has_mail,
        "ACCOUNT_EMAIL_NOTIFICATIONS": has_mail,
        "ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS": False,
        "ACCOUNT_PREVENT_ENUMERATION": True,
        "ACCOUNT_EMAIL_SUBJECT_PREFIX": "",
        "ACCOUNT_SESSION_REMEMBER": True,
        "ACCOUNT_LOGOUT_REDIRECT_URL": "/sign-in",
        "ACCOUNT_RATE_LIMITS": {"login_failed": "10/m/ip,5/300s/key", "reset_password": "10/m/ip,3/15m/key"},
        "ACCOUNT_DEFAULT_HTTP_PROTOCOL": "https" if is_https else "http",
        "MFA_ADAPTER": "services.api.signing.adapters.FactorAdapter",
        "MFA_SUPPORTED_TYPES": ["totp", "webauthn", "recovery_codes"],
        "MFA_PASSKEY_LOGIN_ENABLED": True,
        "MFA_TOTP_ISSUER": "Slipway",
        # Browsers take passkeys over plain http on localhost only.
        "MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN": not is_https,
        "SOCIALACCOUNT_ADAPTER": "services.api.signing.adapters.ProviderAdapter",
        "SOCIALACCOUNT_AUTO_SIGNUP": True,
        "SOCIALACCOUNT_EMAIL_VERIFICATION": "mandatory" if has_mail else "none",
        "SOCIALACCOUNT_STORE_TOKENS": False,
        "SOCIALACCOUNT_OPENID_CONNECT_URL_PREFIX": "oidc",
        "SOCIALACCOUNT_PROVIDERS": {"openid_connect": {"APPS": [_app(each) for each in env.oidc_providers]}},
        "USERSESSIONS_TRACK_ACTIVITY": False,
    }


def _app(provider: Any) -> dict[str, Any]:
    return {
        "provider_id": provider.id,
        "name": provider.name,
        "client_id": provider.client_id,
        "secret": provider.client_secret.get_secret_value(),
        "settings": {
            "server_url": provider.issuer,
            "oauth_pkce_enabled": True,
            # An address opens an existing account only where the operator trusts the provider's word on it.
            "email_authentication": provider.trusts_email,
            "organisation": provider.organisation,
            "role": provider.role,
        },
    }
