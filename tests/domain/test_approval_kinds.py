"""The kinds of questions: what each is about, who decides it, whether two must agree, and what a yes does."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from conftest import Tenant, recorded
from services.domain.actors import Actor, system_actor
from services.domain.agents.models import Agent
from services.domain.approvals import grants
from services.domain.approvals.actions import Question, decide_approval, request_approval, use_approval
from services.domain.approvals.deciders import may_decide
from services.domain.approvals.grants import register_grant
from services.domain.approvals.kinds import KINDS
from services.domain.approvals.models import Approval, ApprovalScope, ApprovalVote
from services.domain.approvals.rules import Terms
from services.domain.approvals.subjects import (
    CREDENTIAL,
    MCP_SERVER,
    PACKAGES,
    UNKNOWN_SENDER,
    CredentialSubject,
    McpServerSubject,
    PackagesSubject,
    Subject,
    UnknownSenderSubject,
)
from services.domain.errors import (
    ApprovalClosed,
    Conflict,
    NotPermitted,
    NotTheDecider,
    RoleMissing,
    ScopeMissing,
)
from services.domain.identity.actions import add_member
from services.domain.identity.models import Membership, User
from services.domain.images.packages import Packages
from services.domain.tasks.models import Task
from services.domain.tenancy.transaction import tenant_transaction
from services.domain.upstreams.models import UpstreamServer
from services.kit.clock import now
from tests.domain.cast import submit

TWO = Terms(people=2)


@pytest.fixture
def carol(acme: Tenant) -> Actor:
    """Give acme another member."""
    user = User.objects.create_user("carol@acme.example", "x", display_name="carol")
    add_member(acme.owner, user, "member")
    return Actor(acme.organisation.id, "user", "member", user_id=user.pk)


@pytest.fixture(autouse=True)
def nothing_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test register what it likes."""
    monkeypatch.setattr(grants, "_GRANTS", {})


CREDENTIAL_ID = uuid.uuid4()
SUBJECTS: dict[str, tuple[Subject, str]] = {
    PACKAGES: (
        PackagesSubject(packages=Packages(pip=["six==1.16.0"], apt=["jq"]), reason="to read JSON"),
        "apt: jq; pip: six==1.16.0",
    ),
    MCP_SERVER: (
        McpServerSubject(name="weather", url="https://weather.example/mcp"),
        "weather: https://weather.example/mcp",
    ),
    CREDENTIAL: (
        CredentialSubject(credential_id=CREDENTIAL_ID, name="GitHub", purpose="POST api.github.com"),
        "GitHub for POST api.github.com",
    ),
    UNKNOWN_SENDER: (
        UnknownSenderSubject(
            link_id=uuid.uuid4(), chat_id=uuid.uuid4(), sender_id="501", sender_name="Eve", text="hello"
        ),
        "Eve (501): hello",
    ),
}


def ask(task: Task, kind: str = CREDENTIAL, **fields: Any) -> Approval:
    question = question_of(task, kind, **fields)
    with tenant_transaction(task.org_id):
        approval = request_approval(question)
    assert approval is not None
    return approval


def question_of(task: Task, kind: str = CREDENTIAL, **fields: Any) -> Question:
    place = {"workspace_id": task.workspace_id, "agent_id": task.agent_id, "task_id": task.id}
    return Question(
        **{"org_id": task.org_id, "kind": kind, "subject": SUBJECTS[kind][0].stored()} | place | fields
    )


def agent_of(task: Task) -> Agent:
    with tenant_transaction(task.org_id):
        return Agent.objects.get(id=task.agent_id)


@pytest.mark.parametrize("kind", SUBJECTS)
def test_each_kind_is_asked_shown_and_decided(acme: Tenant, kind: str) -> None:
    task = submit(acme)
    subject, words = SUBJECTS[kind]
    assert KINDS[kind].show(subject.stored()) == words
    with recorded() as seen:
        approval = ask(task, kind)
        decided = decide_approval(acme.owner, approval.id, "allow")
    assert (decided.status, decided.for_user_id) == ("allowed", acme.owner.user_id)
    types = [event.type for event in seen.events if event.type.startswith("approval.")]
    assert types == ["approval.requested"] * 2 + ["approval.decided"] * 2
    assert seen.events[-1].data["decided_by"] == str(acme.owner.user_id)
    with pytest.raises(ValidationError):
        KINDS[kind].show({**subject.stored(), "more": 1})


def test_allowed_packages_are_added_to_the_agents(acme: Tenant) -> None:
    task = submit(acme)
    decide_approval(acme.people["bob"], ask(task, PACKAGES).id, "allow")
    assert agent_of(task).packages == {"apt": ["jq"], "pip": ["six==1.16.0"], "npm": []}


def test_an_allowed_server_is_registered_and_listed_and_an_admin_decides_it(acme: Tenant) -> None:
    task = submit(acme)
    approval = ask(task, MCP_SERVER)
    with pytest.raises(RoleMissing):
        decide_approval(acme.people["bob"], approval.id, "allow")
    decide_approval(acme.owner, approval.id, "allow", "always")
    assert agent_of(task).mcp_servers[-1] == "weather"
    with tenant_transaction(task.org_id):
        assert UpstreamServer.objects.get().url == "https://weather.example/mcp"


def test_a_server_whose_address_is_refused_leaves_the_question_open(acme: Tenant) -> None:
    inside = McpServerSubject(name="inside", url="http://169.254.169.254/mcp")
    approval = ask(submit(acme), MCP_SERVER, subject=inside.stored())
    with pytest.raises(Exception, match=r"."):
        decide_approval(acme.owner, approval.id, "allow")
    assert fresh(approval).status == "pending"


def fresh(approval: Approval) -> Approval:
    with tenant_transaction(approval.org_id):
        return Approval.objects.get(id=approval.id)


def test_what_an_owner_registers_is_what_a_yes_does(acme: Tenant) -> None:
    done = []
    register_grant(
        CREDENTIAL, ApprovalScope.ALWAYS, lambda actor, approval: done.append(approval.subject["name"])
    )
    decide_approval(acme.owner, ask(submit(acme)).id, "allow")
    assert done == []
    decide_approval(acme.owner, ask(submit(acme)).id, "allow", "always")
    assert done == ["GitHub"]


def test_a_yes_that_cannot_be_carried_out_decides_nothing(acme: Tenant) -> None:
    def refuse(actor: Actor, approval: Approval) -> None:
        raise Conflict("The account is disconnected.")

    register_grant(CREDENTIAL, ApprovalScope.ONCE, refuse)
    approval = ask(submit(acme))
    with recorded() as seen, pytest.raises(Conflict):
        decide_approval(acme.owner, approval.id, "allow")
    assert seen.events == []
    assert fresh(approval).status == "pending"


def test_what_is_allowed_once_is_used_once(acme: Tenant, globex: Tenant) -> None:
    task = submit(acme)
    question = question_of(task)
    approval = ask(task)
    with tenant_transaction(task.org_id):
        assert use_approval(question) is None
    decide_approval(acme.owner, approval.id, "allow")
    with tenant_transaction(globex.organisation.id):
        assert use_approval(question) is None
    with tenant_transaction(task.org_id):
        assert use_approval(question) == approval
        assert use_approval(question) is None
    assert ask(task).id != approval.id


def test_questions_are_the_same_by_what_identifies_them(acme: Tenant) -> None:
    task = submit(acme)
    sender = SUBJECTS[UNKNOWN_SENDER][0].stored()
    first = ask(task, UNKNOWN_SENDER, identity={"sender": "501"})
    again = ask(
        task, UNKNOWN_SENDER, identity={"sender": "501"}, subject={**sender, "text": "are you there?"}
    )
    other = ask(task, UNKNOWN_SENDER, identity={"sender": "502"})
    assert (first == again, first == other) == (True, False)


# --- who decides ---------------------------------------------------------------------------------------


def test_two_people_must_agree(acme: Tenant, carol: Actor) -> None:
    approval = ask(submit(acme), terms=TWO)
    with recorded() as seen:
        assert decide_approval(acme.people["bob"], approval.id, "allow", "always").status == "pending"
        assert decide_approval(acme.people["bob"], approval.id, "allow", "always").status == "pending"
    assert seen.event_types == ["approval.agreed", "approval.agreed"]
    assert seen.events[0].data == {
        "approval_id": str(approval.id), "user_id": str(acme.users["bob"].pk), "agreed": 1, "needed": 2,
        "workspace_id": str(approval.workspace_id),
    }  # fmt: skip
    with recorded() as seen:
        decided = decide_approval(carol, approval.id, "allow")
    # One of them meant this once only.
    assert (decided.status, decided.scope, decided.decided_by_id) == ("allowed", "once", carol.user_id)
    assert seen.event_types == ["approval.decided", "approval.decided"]
    assert seen.events[0].data["agreed_by"] == [str(acme.users["bob"].pk), str(carol.user_id)]


def test_one_no_of_two_is_enough_and_takes_the_yes_away(acme: Tenant, carol: Actor) -> None:
    approval = ask(submit(acme), PACKAGES, terms=TWO)
    decide_approval(acme.people["bob"], approval.id, "allow")
    assert decide_approval(carol, approval.id, "deny").status == "denied"
    with tenant_transaction(approval.org_id):
        assert not ApprovalVote.objects.exists()
    with pytest.raises(ApprovalClosed):
        decide_approval(acme.owner, approval.id, "allow")


def test_the_yes_of_somebody_who_has_left_does_not_count(acme: Tenant, carol: Actor) -> None:
    approval = ask(submit(acme), terms=TWO)
    decide_approval(carol, approval.id, "allow")
    with tenant_transaction(approval.org_id):
        Membership.objects.filter(user_id=carol.user_id).delete()
    assert decide_approval(acme.people["bob"], approval.id, "allow").status == "pending"
    assert decide_approval(acme.owner, approval.id, "allow").status == "allowed"


def test_nobody_in_particular_is_not_one_of_two(acme: Tenant) -> None:
    approval = ask(submit(acme), terms=TWO)
    with pytest.raises(NotPermitted):
        decide_approval(system_actor(acme.organisation.id), approval.id, "allow")


def test_a_role_may_be_asked_for(acme: Tenant) -> None:
    approval = ask(submit(acme), terms=Terms(decider_role="owner"))
    bob = acme.people["bob"]
    assert (may_decide(bob, approval), may_decide(acme.owner, approval)) == (False, True)
    for decision in ("allow", "deny"):
        with pytest.raises(RoleMissing):
            decide_approval(bob, approval.id, decision)
    decide_approval(acme.owner, approval.id, "allow")


def test_members_may_be_named_and_nobody_else_decides(acme: Tenant, carol: Actor) -> None:
    approval = ask(submit(acme), terms=Terms(decider_ids=(acme.users["bob"].pk,)))
    for actor in (carol, acme.owner):
        with pytest.raises(NotTheDecider):
            decide_approval(actor, approval.id, "allow")
    narrow = Actor(approval.org_id, "token", "member", user_id=acme.users["bob"].pk, scopes=frozenset())
    with pytest.raises(ScopeMissing):
        decide_approval(narrow, approval.id, "allow")
    decide_approval(acme.people["bob"], approval.id, "allow")


def test_the_person_that_the_work_is_for_may_be_kept_from_deciding_alone(acme: Tenant) -> None:
    terms = Terms(may_decide_own=False)
    approval = ask(submit(acme), terms=terms)
    with pytest.raises(NotTheDecider):
        decide_approval(acme.owner, approval.id, "allow")
    with pytest.raises(NotTheDecider):
        decide_approval(system_actor(acme.organisation.id), approval.id, "allow")
    assert decide_approval(acme.people["bob"], approval.id, "allow").status == "allowed"
    # Saying no to one's own work is always allowed, and so is being one of two.
    assert decide_approval(acme.owner, ask(submit(acme), terms=terms).id, "deny").status == "denied"
    both = ask(submit(acme), terms=Terms(people=2, may_decide_own=False))
    decide_approval(acme.owner, both.id, "allow")
    assert decide_approval(acme.people["bob"], both.id, "allow").status == "allowed"


def test_the_terms_say_when_it_expires(acme: Tenant) -> None:
    approval = ask(submit(acme), terms=Terms(lifetime=timedelta(minutes=5)))
    assert timedelta(minutes=4) < approval.expires_at - now() <= timedelta(minutes=5)
