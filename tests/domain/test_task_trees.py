"""The tree of what agents passed on: whole, in order, bounded, and nobody else's."""

from __future__ import annotations

import pytest

from services.domain.errors import TaskMissing
from services.domain.tasks import tree
from services.domain.tasks.queries import agent_actor
from services.domain.tasks.submit import TaskOrder, submit_task
from services.domain.tasks.tree import find_workspace_tree, get_task_tree
from services.domain.tenancy.transaction import tenant_transaction
from tests.domain.cast import submit


def passed_on(task, prompt, agent_id=None):
    order = TaskOrder(agent_id=agent_id or task.agent_id, prompt=prompt)
    return submit_task(agent_actor(task), order, source="agent")


def shown(tenant, task):
    with tenant_transaction(tenant.organisation.id):
        found = get_task_tree(tenant.owner, task.id)
        return [(branch.task.prompt, branch.depth) for branch in found.branches], found.is_cut


def test_a_tree_is_the_same_from_wherever_it_is_asked_for(acme):
    root = submit(acme, "root")
    first = passed_on(root, "first")
    second = passed_on(root, "second")
    below = passed_on(first, "below first")
    submit(acme, "something else")
    whole = [("root", 0), ("first", 1), ("below first", 2), ("second", 1)]
    for task in (root, first, second, below):
        assert shown(acme, task) == (whole, False)


def test_a_tree_is_cut_and_says_so(acme, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tree, "MAX_SHOWN", 2)
    root = submit(acme, "root")
    for name in ("one", "two"):
        passed_on(root, name)
    assert shown(acme, root) == ([("root", 0), ("one", 1)], True)


def test_another_tenants_tree_does_not_exist(acme, globex):
    root = submit(acme)
    with tenant_transaction(globex.organisation.id), pytest.raises(TaskMissing):
        get_task_tree(globex.owner, root.id)


def test_a_workspace_shows_a_tree_once_work_was_passed_on(acme):
    root = submit(acme, "root")
    with tenant_transaction(acme.organisation.id):
        assert find_workspace_tree(acme.owner, root.workspace_id) is None
    child = passed_on(root, "child")
    with tenant_transaction(acme.organisation.id):
        for workspace_id in (root.workspace_id, child.workspace_id):
            found = find_workspace_tree(acme.owner, workspace_id)
            assert found is not None
            assert [branch.task.id for branch in found.branches] == [root.id, child.id]
