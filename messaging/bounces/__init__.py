"""Mail that comes back: what it says (`codes`, `reading`), where it comes in (`mailboxes`), whose it is (`returnpath`).

Nothing in here touches the database but the mailbox's notes of what it has seen; what a verdict does is in
`messaging.verdicts`.
"""
