"""Signing in."""

from __future__ import annotations

from django import forms

from services.api.dashboard.forms.base import DomainForm


class SignInForm(DomainForm):
    """E-mail address and password."""

    email = forms.EmailField(
        label="E-mail", widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True})
    )
    password = forms.CharField(
        strip=False, max_length=1000, widget=forms.PasswordInput(attrs={"autocomplete": "current-password"})
    )
