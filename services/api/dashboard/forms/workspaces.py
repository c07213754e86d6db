"""Naming a workspace."""

from __future__ import annotations

from django import forms

from services.api.dashboard.forms.base import DomainForm


class RenameForm(DomainForm):
    """A workspace's name."""

    name = forms.CharField(max_length=120)
