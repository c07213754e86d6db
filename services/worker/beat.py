"""Runs beat: the platform's own periodic jobs. The playbooks of tenants are rows, not entries here."""

from __future__ import annotations

from services.kit.environment import environment
from services.worker.app import app


def main() -> None:
    """Send each sweep at its interval until told to stop."""
    env = environment()
    env.run_dir.mkdir(parents=True, exist_ok=True)
    schedule = env.run_dir / "beat-schedule"
    # A schedule file of a killed beat may be damaged, and holds nothing that matters: sweeps are all alike.
    for leftover in env.run_dir.glob("beat-schedule*"):
        leftover.unlink()
    app.Beat(schedule=str(schedule), loglevel="WARNING", pidfile=None, quiet=True).run()


if __name__ == "__main__":
    main()
