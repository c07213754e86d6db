"""A real CalDAV server, Radicale, as a process of the test's own on loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

USER, PASSWORD = "alice", "an app-password"
_CALENDAR = (
    '<?xml version="1.0" encoding="utf-8"?><d:mkcol xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><d:set>'
    "<d:prop><d:resourcetype><d:collection/><c:calendar/></d:resourcetype><d:displayname>{name}</d:displayname>"
    '<c:supported-calendar-component-set><c:comp name="{kind}"/></c:supported-calendar-component-set>'
    "</d:prop></d:set></d:mkcol>"
)


class CalDavServer:
    """Radicale with one person, who has two calendars and a list of things to do."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/"
        (folder / "users").write_text(f"{USER}:{PASSWORD}\n")
        self._log = (folder / "log").open("wb")
        command = [
            sys.executable,
            "-m",
            "radicale",
            "--config",
            "",
            "--server-hosts",
            f"127.0.0.1:{self.port}",
        ]
        command += ["--auth-type", "htpasswd", "--auth-htpasswd-filename", str(folder / "users")]
        command += ["--auth-htpasswd-encryption", "plain", "--auth-delay", "0"]
        command += ["--storage-filesystem-folder", str(folder / "collections")]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        self.http = httpx.Client(base_url=self.url, auth=(USER, PASSWORD), timeout=10)

    def __enter__(self) -> CalDavServer:
        deadline = time.monotonic() + 20
        while True:
            try:
                self.http.request("PROPFIND", "/", headers={"Depth": "0"})
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline, "the calendar server does not answer"
                time.sleep(0.05)
        for path, name, kind in (
            ("work", "Work", "VEVENT"),
            ("home", "Home Ä", "VEVENT"),
            ("list", "List", "VTODO"),
        ):
            body = _CALENDAR.format(name=name, kind=kind).encode()
            made = self.http.request("MKCOL", f"/{USER}/{path}/", content=body)
            assert made.status_code == 201, made.text
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self._process.terminate()
        self._process.wait(10)
        self._log.close()

    def put(self, calendar: str, name: str, *lines: str) -> str:
        """Put an event there as somebody else would, and return its path."""
        head = ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//", "BEGIN:VEVENT", f"UID:{name}")
        stamped = ("DTSTAMP:20260101T000000Z", *lines, "END:VEVENT", "END:VCALENDAR", "")
        text = "\r\n".join((*head, *stamped))
        path = f"/{USER}/{calendar}/{name}.ics"
        answer = self.http.put(path, content=text.encode(), headers={"Content-Type": "text/calendar"})
        assert answer.status_code in (201, 204), answer.text
        return path
