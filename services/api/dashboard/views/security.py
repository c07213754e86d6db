"""How the signed-in person's account is opened, and where it is open now."""

from __future__ import annotations

import uuid
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from services.api.dashboard.pages import PageRequest, attempt, page, show
from services.api.signing.sessions import end_other_sessions, end_session, list_sessions
from services.domain.identity.deletion import (
    all_tenants_cancel_account_deletion,
    all_tenants_plan_account_deletion,
)


@page
@require_safe
def security(request: PageRequest) -> HttpResponse:
    """Show passkeys, second factors, identities and sessions."""

    def build() -> dict[str, Any]:
        factors = list(Authenticator.objects.filter(user_id=request.person.pk))
        by_type = {str(factor.type): factor for factor in factors}
        return {
            "passkeys": [factor for factor in factors if factor.type == Authenticator.Type.WEBAUTHN],
            "totp": by_type.get(Authenticator.Type.TOTP),
            "codes": by_type.get(Authenticator.Type.RECOVERY_CODES),
            "identities": SocialAccount.objects.filter(user_id=request.person.pk),
            "sessions": list_sessions(request.person, request.session.session_key),
        }

    return show(request, "dashboard/security.html", build)


@page
@require_POST
def end_account(request: PageRequest) -> HttpResponse:
    """Plan the deletion of the person's account, or take that back."""
    person = request.person
    if request.POST.get("to") == "keep":
        attempt(request, lambda: all_tenants_cancel_account_deletion(person), "Your account stays.")
    else:
        attempt(request, lambda: all_tenants_plan_account_deletion(person), "The deletion is planned.")
    return redirect("dashboard:security")


@page
@require_POST
def end(request: PageRequest, session_id: uuid.UUID) -> HttpResponse:
    """Sign one browser out."""
    attempt(request, lambda: end_session(request.person, session_id), "That browser is signed out.")
    return redirect("dashboard:security")


@page
@require_POST
def end_others(request: PageRequest) -> HttpResponse:
    """Sign every other browser out."""
    count = end_other_sessions(request.person, request.session.session_key)
    messages.success(request, f"Signed out elsewhere: {count}.")
    return redirect("dashboard:security")
