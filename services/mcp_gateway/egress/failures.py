"""Why the proxy does not do what it was asked: each reason with its status and a sentence for the agent."""

from __future__ import annotations

from services.domain.egress.refusals import HOST_REFUSED, METHOD_REFUSED
from services.domain.vault.brokered import ASKED, DENIED, REVOKED

NOT_AT_WORK = "not_at_work"
MALFORMED = "malformed"
ADDRESS_REFUSED = "address_not_public"
NAME_UNKNOWN = "name_not_resolved"
UNREACHABLE = "host_unreachable"
UPSTREAM_BROKE = "host_broke_off"
HOST_HEADER = "host_header_differs"
NOT_TLS = "not_tls"
NAME_MISSING = "tls_name_missing"
NAME_DIFFERS = "tls_name_differs"
NAME_HIDDEN = "tls_name_encrypted"
TOO_MANY = "too_many_connections"
TOO_MUCH = "too_many_bytes"
CREDENTIAL_ELSEWHERE = "credential_not_bound_here"
CREDENTIAL_PATH = "credential_path_refused"
CREDENTIAL_NEEDS_TLS = "credential_needs_tls"
CREDENTIAL_ENCODED = "credential_answer_encoded"

_STATUS = {
    CREDENTIAL_ENCODED: 502,
    MALFORMED: 400,
    NAME_UNKNOWN: 502,
    UNREACHABLE: 502,
    UPSTREAM_BROKE: 502,
    TOO_MANY: 429,
}
_WORDS = {
    HOST_REFUSED: "This host is not on the agent's list. Its people see that it was asked for, and can allow it.",
    METHOD_REFUSED: "This method is not allowed at this host. Its people see that it was asked for, and can allow it.",
    NOT_AT_WORK: "Nothing is reached from here while no task is at work.",
    MALFORMED: "This is no request for a proxy: use CONNECT for https, and http://host/path for http.",
    ADDRESS_REFUSED: "The host has an address that is not on the public internet.",
    NAME_UNKNOWN: "The host's name was not resolved.",
    UNREACHABLE: "The host does not answer.",
    UPSTREAM_BROKE: "The host broke off, or its answer or certificate is wrong.",
    HOST_HEADER: "The Host header names another host than the request.",
    NOT_TLS: "What goes through CONNECT must be TLS.",
    NAME_MISSING: "The TLS hello does not say which host it is for.",
    NAME_DIFFERS: "The TLS hello is for another host than CONNECT.",
    NAME_HIDDEN: "The TLS hello hides its host (encrypted client hello).",
    TOO_MANY: "Too many connections at once.",
    TOO_MUCH: "This task has sent or received more than it may.",
    CREDENTIAL_ELSEWHERE: "The placeholder of a credential stands where that credential is not to go: another host, "
    "method, header or parameter. Its people bind it on the page of secrets.",
    CREDENTIAL_PATH: "The placeholder of a credential goes with a path that it is not bound to, or that can be read "
    "in two ways.",
    CREDENTIAL_NEEDS_TLS: "A credential goes over https only.",
    CREDENTIAL_ENCODED: "The host's answer is compressed though it was asked not to be: it cannot be looked through.",
    REVOKED: "This credential was taken away from the agent, or has expired.",
    ASKED: "Somebody has to allow the use of this credential, and was asked. Try again after a while.",
    DENIED: "The use of this credential was denied.",
}
# What an owner wants to know of: somebody tried what is not allowed. A host that is down is the agent's own matter.
TOLD = frozenset(
    {
        HOST_REFUSED, METHOD_REFUSED, ADDRESS_REFUSED, HOST_HEADER, NOT_TLS, NAME_MISSING, NAME_DIFFERS,
        NAME_HIDDEN, TOO_MUCH, CREDENTIAL_ELSEWHERE, CREDENTIAL_PATH, CREDENTIAL_NEEDS_TLS, REVOKED, DENIED,
    }
)  # fmt: skip


class Refused(Exception):
    """The proxy does not do it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @property
    def status(self) -> int:
        """Return the HTTP status that says so."""
        return _STATUS.get(self.reason, 403)

    @property
    def message(self) -> str:
        """Return the sentence for the agent."""
        return _WORDS[self.reason]
