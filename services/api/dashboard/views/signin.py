"""Signing in and out, and choosing the organisation."""

from __future__ import annotations

from typing import Any

from allauth.account.internal.flows.login import perform_password_login
from allauth.account.models import Login
from django.contrib.auth import authenticate, logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from services.api.dashboard.forms.signin import SignInForm
from services.api.dashboard.pages import PageRequest, page, remember_organisation
from services.api.dashboard.throttle import count_attempt, forget_attempts
from services.api.signing.adapters import ensure_address, find_offer
from services.api.signing.records import record_failure
from services.domain.audit.models import AuditAction
from services.domain.errors import Invalid, Missing
from services.domain.identity.accounts import all_tenants_record_account
from services.domain.identity.models import User
from services.domain.letters.posting import can_send
from services.kit.environment import environment
from services.kit.origin import caller_address


@never_cache
@csrf_protect
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Show the form, and let in who knows an account's password."""
    target = _target_of(request)
    if request.user.is_authenticated and request.method != "POST":
        return redirect(target)
    form = SignInForm(request.POST or None)
    found: list[User] = []
    if request.method == "POST" and form.submit(lambda given: found.append(_recognise(request, **given))):
        return _let_in(request, found[0], target)
    context = {
        "form": form,
        "next": target if target != "/" else "",
        "providers": environment().oidc_providers,
        "may_sign_up": environment().sign_up == "open" or find_offer(request) is not None,
        "can_reset": can_send(),
    }
    return render(request, "dashboard/signin.html", context, status=form.status)


@csrf_protect
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    if isinstance(request.user, User):
        all_tenants_record_account(request.user, AuditAction.SIGNED_OUT)
    logout(request)
    return redirect("dashboard:sign-in")


@page
@require_POST
def choose_organisation(request: PageRequest) -> HttpResponse:
    """Act in another of the person's organisations from now on."""
    wanted = request.POST.get("to")
    for organisation, _ in request.organisations:
        if str(organisation.id) == wanted:
            remember_organisation(request, organisation)
            return redirect("dashboard:home")
    raise Missing("There is no such organisation.")


def _recognise(request: HttpRequest, *, email: str, password: str) -> User:
    """Return whose password this is. Raises: RateLimited, Invalid."""
    address = caller_address(request.META, proxies=environment().proxies)
    count_attempt(email, address)
    person: Any = authenticate(request, username=email.strip().lower(), password=password)
    if not isinstance(person, User):
        record_failure(email, "password")
        raise Invalid("The e-mail address or the password is wrong.")
    forget_attempts(email, address)
    return person


def _let_in(request: HttpRequest, person: User, target: str) -> HttpResponse:
    """Go on to the next step, if the account has one, or start the session."""
    ensure_address(person)
    attempt = Login(user=person, redirect_url=target)
    response: HttpResponse = perform_password_login(request, {"email": person.email}, attempt)
    return response


def _target_of(request: HttpRequest) -> str:
    """Return where to go afterwards; only pages of this site."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    is_safe = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if is_safe else reverse("dashboard:home")
