"""The operators' desk: every page, what it never shows, and what its buttons do."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import Client

from conftest import PASSWORD, recorded
from services.domain.chats.models import Delivery
from services.domain.identity.models import Organisation, User
from services.domain.outbox.models import DeadJob, OutboxJob
from services.domain.plane.hosts import register_host
from services.domain.plane.models import Host, Sandbox
from services.domain.tasks.models import Task
from tests.dashboard.samples import make_everything, submit, work


@pytest.fixture
def operator(database) -> Client:
    """Give an operator, who is a member of no organisation."""
    User.objects.create_superuser("olga@slipway.example", PASSWORD)
    client = Client()
    assert client.login(username="olga@slipway.example", password=PASSWORD)
    return client


def press(client: Client, model: type, name: str, *rows: object) -> str:
    """Choose rows in a list, press a button, and return the page that follows."""
    meta = model._meta
    answer = client.post(
        f"/admin/{meta.app_label}/{meta.model_name}/",
        {"action": name, "_selected_action": [str(row.pk) for row in rows]},
        follow=True,
    )
    assert answer.status_code == 200
    return answer.content.decode()


def a_sandbox(task: Task) -> Sandbox:
    """Make the row of a sandbox at work."""
    host = register_host("hosta", driver="bubblewrap", slots=4, missing_promises=["memory_limit"])
    return Sandbox.objects.create(
        host=host,
        org_id=task.org_id,
        workspace_id=task.workspace_id,
        task_id=task.id,
        image="i",
        state="busy",
    )


def a_dead_job(task: Task) -> DeadJob:
    """Make a job that failed for good."""
    return DeadJob.objects.using("operator").create(
        org_id=task.org_id,
        type="task.dispatch",
        queue="default",
        payload={},
        error="Traceback\nBoom: it broke",
        attempt=12,
    )


def test_every_list_and_every_row_opens_and_shows_nothing_sealed(operator, acme):
    made = make_everything(acme)
    a_sandbox(made.task)
    a_dead_job(made.task)
    opened = 0
    for model, model_admin in admin.site._registry.items():
        if model._meta.app_label == "auth":
            continue
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        pages = [base, f"{base}?q=zzz"]
        row = model._default_manager.using(model_admin.using).first()
        if row is not None:
            pages.append(f"{base}{row.pk}/change/")
        for page in pages:
            answer = operator.get(page, follow=True)
            assert answer.status_code == 200, page
            text = answer.content.decode()
            assert "sealed-value" not in text, page
            assert "sealed_config" not in text, page
            assert "token_hash" not in text, page
            assert "scrypt$" not in text, page
            opened += 1
    assert opened > 55


def test_the_desk_shows_all_organisations(operator, acme, globex):
    submit(acme, "of acme")
    submit(globex, "of globex")
    page = operator.get("/admin/tasks/task/").content.decode()
    assert "of acme" in page
    assert "of globex" in page
    assert "acme" in page
    assert "of globex" not in operator.get(f"/admin/tasks/task/?q={acme.organisation.id}").content.decode()


def test_the_desk_is_closed_to_people_who_are_no_operators(alice):
    for path in ("/admin/", "/admin/tasks/task/"):
        assert alice.get(path).status_code == 302
    assert Client().get("/admin/").status_code == 302


def test_an_operator_without_rights_presses_nothing(acme):
    task = submit(acme)
    User.objects.create_user("omar@slipway.example", PASSWORD, is_staff=True)
    client = Client()
    client.login(username="omar@slipway.example", password=PASSWORD)
    assert client.get("/admin/").status_code == 200
    assert client.get("/admin/tasks/task/").status_code == 403
    client.post("/admin/tasks/task/", {"action": "cancel", "_selected_action": [str(task.pk)]})
    assert Task.objects.using("operator").get().status == "queued"


def test_the_overview_counts_and_points_at_what_is_wrong(operator, acme):
    task = submit(acme)
    a_sandbox(task)
    a_dead_job(task)
    Host.objects.update(last_beat_at="2020-01-01T00:00:00Z")
    page = operator.get("/admin/").content.decode()
    assert "memory_limit" in page
    assert "No sandbox starts there until it is kept" in page
    assert "It is silent" in page
    assert "dead jobs" in page


def test_a_task_is_cancelled_and_done_once_more(operator, acme):
    task = submit(acme, "once more")
    assert "Cancelled: 1" in press(operator, Task, "cancel", task)
    assert "Submitted again: 1" in press(operator, Task, "retry", task)
    first, second = Task.objects.using("operator").order_by("id")
    assert (first.status, second.status) == ("cancelled", "queued")
    assert (second.prompt, second.workspace_id, second.user_id) == (
        "once more",
        first.workspace_id,
        first.user_id,
    )
    assert second.source == "retry"


def test_what_cannot_be_done_is_said_with_its_reason(operator, acme):
    task = submit(acme)
    assert "The task has not ended yet." in press(operator, Task, "retry", task)
    work(task)
    assert "The task has ended already." in press(operator, Task, "cancel", task)


def test_a_sandbox_is_stopped_by_its_own_host(operator, acme):
    sandbox = a_sandbox(submit(acme))
    with recorded() as seen:
        assert "Ordered to stop: 1" in press(operator, Sandbox, "stop", sandbox)
    assert [(job.type, job.queue) for job in seen.jobs] == [("sandbox.stop", "host.hosta")]
    Sandbox.objects.update(state="destroyed")
    assert "The sandbox is gone already." in press(operator, Sandbox, "stop", sandbox)


def test_a_failed_delivery_goes_out_again(operator, acme):
    made = make_everything(acme)
    assert "Queued again: 1" in press(operator, Delivery, "send_again", made.delivery)
    assert Delivery.objects.using("operator").get().status == "queued"


def test_a_dead_job_is_put_back_once(operator, acme):
    dead = a_dead_job(submit(acme))
    before = OutboxJob.objects.using("operator").count()
    assert "Put back: 1" in press(operator, DeadJob, "put_back", dead)
    assert "put back already" in press(operator, DeadJob, "put_back", dead)
    jobs = OutboxJob.objects.using("operator").order_by("id")
    assert len(jobs) == before + 1
    assert (jobs[before].type, jobs[before].attempt, jobs[before].org_id) == (dead.type, 0, dead.org_id)
    assert DeadJob.objects.using("operator").get().retried_at is not None


def test_an_organisation_is_suspended_and_resumed_and_its_limits_are_set(operator, acme):
    organisation = acme.organisation
    assert "Suspended: 1" in press(operator, Organisation, "suspend", organisation)
    assert Organisation.objects.using("operator").get().suspended_at is not None
    assert "Resumed: 1" in press(operator, Organisation, "resume", organisation)
    answer = operator.post(
        f"/admin/identity/organisation/{organisation.id}/change/",
        {"name": "Acme & Co", "max_queued_tasks": "5", "max_running_tasks": "2", "slug": "stolen"},
    )
    assert answer.status_code == 302
    kept = Organisation.objects.using("operator").get()
    assert (kept.name, kept.slug, kept.max_queued_tasks, kept.max_running_tasks) == (
        "Acme & Co",
        "acme",
        5,
        2,
    )


def test_an_account_is_closed_but_not_ones_own(operator, acme):
    olga = User.objects.get(email="olga@slipway.example")
    press(operator, User, "close", acme.users["bob"], olga)
    closed = User.objects.filter(is_active=False).values_list("email", flat=True)
    assert list(closed) == ["bob@acme.example"]
    press(operator, User, "reopen", acme.users["bob"])
    assert not User.objects.filter(is_active=False).exists()


def test_nothing_is_added_or_deleted_at_the_desk(operator, acme):
    task = submit(acme)
    assert operator.get("/admin/tasks/task/add/").status_code == 403
    assert operator.post(f"/admin/tasks/task/{task.id}/delete/", {"post": "yes"}).status_code == 403
    assert operator.post(f"/admin/tasks/task/{task.id}/change/", {"status": "failed"}).status_code == 403
