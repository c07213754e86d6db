"""What may be at once in an organisation, and what is: of its own work only."""

from __future__ import annotations

from services.domain.identity.models import Organisation
from tests.domain.cast import running, submit


def test_limits_say_what_is_used_of_them_and_count_nothing_of_others(acme, globex, alice):
    Organisation.objects.using("operator").filter(id=acme.organisation.id).update(max_running_tasks=3)
    running(acme)
    for tenant in (acme, acme, globex):
        submit(tenant)
    shown = alice.get("/v1/limits").body
    assert (shown["max_running_tasks"], shown["running_tasks"], shown["queued_tasks"]) == (3, 1, 2)
    assert shown["max_queued_tasks"] == acme.organisation.max_queued_tasks
    assert shown["requests_of_token"]["burst"] < shown["requests_of_organisation"]["burst"]
