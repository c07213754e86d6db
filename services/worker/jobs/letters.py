"""Sending the platform's own mail."""

from __future__ import annotations

import logging
import smtplib

from django.core.mail import EmailMessage

from services.domain.errors import Temporary
from services.domain.letters.posting import all_tenants_find_letter, all_tenants_forget_letter
from services.domain.outbox.jobs import SendLetter

log = logging.getLogger(__name__)


def send_letter(job: SendLetter) -> None:
    """Send a mail and forget it. One whose recipient the server refuses is forgotten too. Raises: Temporary."""
    found = all_tenants_find_letter(job.letter_id)
    if found is None:
        return
    to, subject, body = found
    try:
        EmailMessage(subject, body, to=[to]).send()
    except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError) as error:
        if _is_temporary(error):
            raise Temporary("The mail server asks to try again.", retry_after_s=60) from error
        log.warning("letter %s was refused for good: %s", job.letter_id, type(error).__name__)
    except (OSError, smtplib.SMTPException) as error:
        raise Temporary("The mail server does not take mail now.", retry_after_s=30) from error
    all_tenants_forget_letter(job.letter_id)


def _is_temporary(error: smtplib.SMTPRecipientsRefused | smtplib.SMTPDataError) -> bool:
    """Say whether all that was answered are codes of 4xx. Source: RFC 5321, section 4.2.1."""
    if isinstance(error, smtplib.SMTPDataError):
        return 400 <= error.smtp_code < 500
    return all(400 <= code < 500 for code, _ in error.recipients.values())
