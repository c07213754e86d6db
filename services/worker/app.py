"""The Celery application: one Celery task for each job class, named as the job is on the wire."""

from __future__ import annotations

import os
from typing import Any

import django
from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "services.worker.settings")
django.setup()

from services.domain.outbox.jobs import DEFAULT_QUEUE, JOBS  # noqa: E402
from services.kit import tracing  # noqa: E402
from services.kit.environment import environment  # noqa: E402
from services.worker.execution import run_job  # noqa: E402
from services.worker.sweeps import SWEEPS  # noqa: E402
from services.worker.topology import JOBS_EXCHANGE, job_queues  # noqa: E402

_env = environment()

app = Celery("slipway", broker=_env.broker_url.get_secret_value(), fixups=[])
app.conf.update(
    task_queues=job_queues(_env.host_name),
    task_default_queue=DEFAULT_QUEUE,
    task_default_exchange=JOBS_EXCHANGE,
    task_default_exchange_type="topic",
    task_default_routing_key=DEFAULT_QUEUE,
    task_create_missing_queues=False,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    broker_transport_options={"confirm_publish": True},
    broker_heartbeat=30,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # A sweep that nobody took in time is of no use: the next one does all that it would have done.
    beat_schedule={
        sweep.name: {
            "task": sweep.name,
            "schedule": sweep.every_s,
            "options": {"queue": DEFAULT_QUEUE, "routing_key": DEFAULT_QUEUE, "expires": sweep.every_s * 2},
        }
        for sweep in SWEEPS
        if not sweep.is_hosts_own
    },
)


def _register(job_type: str) -> None:
    @app.task(name=job_type, bind=True)  # type: ignore[untyped-decorator]  # Celery's decorator has no types
    def execute(task: Any, payload: dict[str, Any], attempt: int = 0, org_id: str | None = None) -> None:
        # The relay's header: the trace of whoever queued the job.
        parent = getattr(task.request, "traceparent", None) or ""
        with tracing.span("job.run", parent=parent, job=job_type, attempt=attempt):
            run_job(job_type, payload, attempt=attempt, org_id=org_id)


for _job_type in JOBS:
    _register(_job_type)
for _sweep in SWEEPS:
    app.task(name=_sweep.name)(_sweep.run)
