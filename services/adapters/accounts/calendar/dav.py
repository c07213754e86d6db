"""WebDAV's XML: what is asked, and what comes back. Pure; entities and external references are refused.

Source: RFC 4918 (WebDAV), RFC 4791 (CalDAV), RFC 6638
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError  # types; the parser is defusedxml's

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from services.domain.errors import AccountRefused

DAV, CALDAV = "DAV:", "urn:ietf:params:xml:ns:caldav"
_PREFIX = '<?xml version="1.0" encoding="utf-8"?>'
FIND_PRINCIPAL = (
    f'{_PREFIX}<d:propfind xmlns:d="DAV:"><d:prop><d:current-user-principal/></d:prop></d:propfind>'
)
FIND_HOME = (
    f'{_PREFIX}<d:propfind xmlns:d="DAV:" xmlns:c="{CALDAV}">'
    "<d:prop><c:calendar-home-set/></d:prop></d:propfind>"
)
LIST_CALENDARS = (
    f'{_PREFIX}<d:propfind xmlns:d="DAV:" xmlns:c="{CALDAV}"><d:prop><d:displayname/><d:resourcetype/>'
    "<c:supported-calendar-component-set/><d:current-user-privilege-set/></d:prop></d:propfind>"
)
_QUERY = (
    _PREFIX
    + '<c:calendar-query xmlns:d="DAV:" xmlns:c="'
    + CALDAV
    + '"><d:prop><d:getetag/><c:calendar-data/></d:prop>'
    '<c:filter><c:comp-filter name="VCALENDAR"><c:comp-filter name="VEVENT">'
    '<c:time-range start="{start}" end="{end}"/></c:comp-filter></c:comp-filter></c:filter></c:calendar-query>'
)


@dataclass(frozen=True, slots=True)
class Answered:
    """One resource of a multi-status answer, with the properties that were found."""

    href: str
    prop: Element


def query(start: str, end: str) -> str:
    """Return the body that asks for the events of a time; both as `20260701T000000Z`."""
    return _QUERY.format(start=start, end=end)


def read_multistatus(body: bytes) -> list[Answered]:
    """Read a multi-status answer. Raises: AccountRefused for what is none."""
    try:
        root = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise AccountRefused("The calendar server's answer is not to be understood.") from error
    if root.tag != f"{{{DAV}}}multistatus":
        raise AccountRefused("The calendar server's answer is not to be understood.")
    found = []
    for response in root.findall(f"{{{DAV}}}response"):
        href = response.findtext(f"{{{DAV}}}href") or ""
        for propstat in response.findall(f"{{{DAV}}}propstat"):
            prop = propstat.find(f"{{{DAV}}}prop")
            if prop is not None and " 200" in (propstat.findtext(f"{{{DAV}}}status") or ""):
                found.append(Answered(href.strip(), prop))
    return found


def text_of(prop: Element, namespace: str, name: str) -> str:
    """Return a property's text, or an empty one."""
    return (prop.findtext(f"{{{namespace}}}{name}") or "").strip()


def href_in(prop: Element, namespace: str, name: str) -> str:
    """Return the address that a property holds, or an empty text."""
    return (prop.findtext(f"{{{namespace}}}{name}/{{{DAV}}}href") or "").strip()


def is_calendar(prop: Element) -> bool:
    """Say whether a resource is a calendar that holds events."""
    if prop.find(f"{{{DAV}}}resourcetype/{{{CALDAV}}}calendar") is None:
        return False
    kinds = prop.findall(f"{{{CALDAV}}}supported-calendar-component-set/{{{CALDAV}}}comp")
    return not kinds or any(kind.get("name") == "VEVENT" for kind in kinds)


def is_writable(prop: Element) -> bool:
    """Say whether the calendar may be written to; a server that does not tell is believed to let us."""
    privileges = prop.find(f"{{{DAV}}}current-user-privilege-set")
    if privileges is None:
        return True
    wanted = {f"{{{DAV}}}{name}" for name in ("all", "write", "write-content", "bind")}
    return any(each.tag in wanted for privilege in privileges for each in privilege)
