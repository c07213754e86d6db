"""Mailboxes by IMAP and SMTP, as accounts and chats need them."""
