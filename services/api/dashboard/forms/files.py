"""Changing a workspace's files."""

from __future__ import annotations

from typing import Any

from django import forms

from services.api.dashboard.forms.base import DomainForm

MAX_PATH = 4_000


class FolderForm(DomainForm):
    """A folder to make below the one that is shown. `target` is its whole path."""

    path = forms.CharField(max_length=MAX_PATH, required=False, widget=forms.HiddenInput)
    name = forms.CharField(max_length=255, label="Its name")

    def clean(self) -> dict[str, Any]:
        """Join the two."""
        given = super().clean() or {}
        folder, name = given.get("path", "").strip("/"), given.get("name", "").strip("/")
        given["target"] = f"{folder}/{name}" if folder else name
        return given


class MoveForm(DomainForm):
    """What to move, and where to."""

    path = forms.CharField(max_length=MAX_PATH, widget=forms.HiddenInput)
    to = forms.CharField(max_length=MAX_PATH, label="Name, with its folders")


class SaveForm(DomainForm):
    """An edited text, and the version of the file that it was made from."""

    path = forms.CharField(max_length=MAX_PATH, widget=forms.HiddenInput)
    etag = forms.CharField(max_length=100, widget=forms.HiddenInput)
    text = forms.CharField(
        required=False,
        strip=False,
        label="Content",
        widget=forms.Textarea(attrs={"class": "mono", "spellcheck": "false", "rows": 24, "data-editor": ""}),
    )

    def clean_text(self) -> str:
        """Undo what browsers do to line ends. Source: HTML, form submission's newline normalisation."""
        return str(self.cleaned_data["text"]).replace("\r\n", "\n")
