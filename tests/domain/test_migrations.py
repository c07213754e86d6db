"""The tables are what the models say."""

from __future__ import annotations

from django.core.management import call_command


def test_no_migration_is_missing(database):
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
