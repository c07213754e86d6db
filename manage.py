"""Django's command line, with the api service's settings."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "services.api.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
