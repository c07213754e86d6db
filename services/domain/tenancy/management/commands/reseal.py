"""`manage.py reseal`: after a new key was put first in SLIPWAY_VAULT_KEYS, moves everything sealed under it."""

from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand

from services.domain.vault.rotation import all_tenants_reseal


class Command(BaseCommand):
    """May be run while the services run; afterwards the older keys can be taken out of the setting."""

    help = "Seal every secret, link and hook again under the newest vault key."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{all_tenants_reseal()} rows resealed")
