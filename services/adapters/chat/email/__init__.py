"""Mailboxes as chats: IMAP in, SMTP out."""
