"""The page at which a person lets in a program that has no browser of its own."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from services.api.dashboard.forms.devices import CodeForm, DeviceForm
from services.api.dashboard.pages import PageRequest, attempt, page, remember_organisation, show
from services.api.oauth.requests import count_request
from services.domain.errors import Missing
from services.domain.identity.devices import DeviceRequest, decide_device_request, find_device_request

MAX_CODES = 60
"""Looked up by one person in an hour: guessing gets nowhere among 25 thousand million."""


@page
@require_http_methods(["GET", "HEAD", "POST"])
def activate(request: PageRequest) -> HttpResponse:
    """Ask for the code, then what its program may do, then do as the person said."""
    given = request.POST if request.method == "POST" else request.GET
    if "code" not in given:
        return _ask_for_code(request, CodeForm())
    count_request("activate", str(request.person.pk), most=MAX_CODES)
    code = given["code"]
    try:
        asked = find_device_request(code)
    except Missing as error:
        form = CodeForm({"code": code})
        form.add_error("code", error.message)
        return _ask_for_code(request, form, status=404)
    if request.method == "POST" and request.POST.get("decision") == "switch":
        return _switch(request, code)
    return _decide(request, code, asked)


def _decide(request: PageRequest, code: str, asked: DeviceRequest) -> HttpResponse:
    is_answered = request.method == "POST" and "decision" in request.POST
    form = DeviceForm(request.POST if is_answered else None, asked=asked.scopes, initial={"code": code})
    if is_answered and request.POST["decision"] != "allow":
        done = "The program was not let in."
        attempt(
            request, lambda: decide_device_request(request.actor, code, scopes=(), is_allowed=False), done
        )
        return redirect("dashboard:tokens")
    if is_answered and form.submit(
        lambda _: decide_device_request(request.actor, code, scopes=form.chosen(), is_allowed=True)
    ):
        messages.success(request, f"{asked.name} is let in: go back to it. Its token will be in this list.")
        return redirect("dashboard:tokens")
    others = [other for other, _ in request.organisations if other.id != request.organisation.id]
    return show(
        request,
        "dashboard/devices/decide.html",
        lambda: {"form": form, "asked": asked, "code": code, "others": others},
        status=form.status,
    )


def _ask_for_code(request: PageRequest, form: CodeForm, *, status: int = 200) -> HttpResponse:
    return show(request, "dashboard/devices/code.html", lambda: {"form": form}, status=status)


def _switch(request: PageRequest, code: str) -> HttpResponse:
    """Choose another organisation, and ask again."""
    for organisation, _ in request.organisations:
        if str(organisation.id) == request.POST.get("to"):
            remember_organisation(request, organisation)
            return redirect(f"{request.path}?code={code}")
    raise Missing("There is no such organisation.")
