"""Tool calls that a person must allow: judged, held, waited for, run once. Source: docs/approvals.md."""
