"""The words of the ledger: states, reasons and feedback. Pure; imported by every room that decides something."""

from enum import IntFlag, StrEnum


class Channel(StrEnum):
    EMAIL = "email"
    SMS = "sms"


class Role(StrEnum):
    """What a user, or a token without one, is trusted with; see `tasks/access/abilities.py`."""

    ADMIN = "admin"
    EDITOR = "editor"
    VIEWER = "viewer"


class TokenKind(StrEnum):
    """A `session` is what a login gives: it is short, and cannot be asked for."""

    TOKEN = "token"
    SESSION = "session"


class EventType(StrEnum):
    """What other systems can be told of. `PING` is for trying an endpoint out."""

    EXECUTION_COMPLETED = "execution.completed"
    MESSAGE_BOUNCED = "message.bounced"
    CLIENT_UNSUBSCRIBED = "client.unsubscribed"
    IMPORT_FINISHED = "import.finished"
    PING = "ping"


class DeliveryState(StrEnum):
    """`FAILED`: given up after the last attempt; it can be sent again by hand."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class PageFormat(StrEnum):
    MARKDOWN = "markdown"
    HTML = "html"


class PageState(StrEnum):
    """`SCHEDULED` is not to be seen yet; a page that is to be seen, with another version to come, is `PUBLISHED`."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    PUBLISHED = "published"


class SignUpState(StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    EXPIRED = "expired"


class MailState(StrEnum):
    """`SENDING` may have gone out and is not sent again. `HELD` is not sent at all: the address must not be written to."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    HELD = "held"


class Consent(StrEnum):
    """What a client said about being written to on a channel. `DENIED` is never written to."""

    UNKNOWN = "unknown"
    GRANTED = "granted"
    DENIED = "denied"


class ListKind(StrEnum):
    STATIC = "static"
    DYNAMIC = "dynamic"


class CountKind(StrEnum):
    """How the number of a list's members is known: counted for this answer, stored when it was counted last, or not yet."""

    LIVE = "live"
    STORED = "stored"
    UNKNOWN = "unknown"


class FlowState(StrEnum):
    """Only an active flow can be sent or scheduled, and has a deployment in Prefect."""

    DRAFT = "draft"
    ACTIVE = "active"
    ARCHIVED = "archived"


class StepKind(StrEnum):
    SEND = "send"


class ExecutionState(StrEnum):
    """The life of a flow execution.

    `HELD` waits for a person (a missed schedule whose policy is to ask). `SETTLING` has nothing left to send but
    waits for evidence on messages whose outcome is unknown.
    """

    HELD = "held"
    QUEUED = "queued"
    PREPARING = "preparing"
    SENDING = "sending"
    PAUSED = "paused"
    SETTLING = "settling"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        return self in {ExecutionState.COMPLETED, ExecutionState.CANCELLED, ExecutionState.FAILED}


class MessageState(StrEnum):
    PENDING = "pending"
    EXCLUDED = "excluded"
    SENDING = "sending"
    ACCEPTED = "accepted"
    FAILED = "failed"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


class Exclusion(StrEnum):
    """Why a client of the audience is not written to; stored in `messages.reason`.

    `MERGED`: the client was merged into another one, who has a message of the same step.
    """

    NO_ADDRESS = "no_address"
    INVALID_ADDRESS = "invalid_address"
    NO_CONSENT = "no_consent"
    SUPPRESSED = "suppressed"
    SUPPRESSED_FOR_FLOW = "suppressed_for_flow"
    DUPLICATE_ADDRESS = "duplicate_address"
    CLIENT_DELETED = "client_deleted"
    MERGED = "merged"


class Failure(StrEnum):
    """Why a message failed for certain; a provider's own words follow after a colon.

    `UNRESOLVED` alone is not certain: its outcome was unknown, and a person wrote it off.
    """

    RENDER = "render"
    TOO_LARGE = "too_large"
    TOO_MANY_PARTS = "too_many_parts"
    REFUSED = "refused"
    GAVE_UP = "gave_up"
    UNRESOLVED = "unresolved"


class BatchState(StrEnum):
    PENDING = "pending"
    CLAIMED = "claimed"
    SENDING = "sending"
    DONE = "done"
    UNKNOWN = "unknown"
    FAILED = "failed"


class SuppressionReason(StrEnum):
    UNSUBSCRIBE = "unsubscribe"
    ONE_CLICK = "one_click"
    BOUNCE = "bounce"
    SOFT_BOUNCES = "soft_bounces"
    SPAM_REPORT = "spam_report"
    STOP = "stop"
    MANUAL = "manual"
    ERASED = "erased"


OWN_WORDS = (SuppressionReason.UNSUBSCRIBE, SuppressionReason.ONE_CLICK, SuppressionReason.STOP)
"""What the owner of an address has said, and may take back. A bounce or a complaint is not lifted by a tick."""


class Feedback(IntFlag):
    """What providers reported about one message, as a set of bits.

    A union is commutative, associative and idempotent, so any order and any number of copies of the same events
    leave the same value: that is the proof of "order-free". Only the four bits of `ENGAGEMENT` are no union: who opened
    and clicked, a person or a machine, is told from all stored events of the message together
    (`tasks/feedback/labels.py`), and the same set of events gives the same answer in any order.
    """

    PROCESSED = 1
    DEFERRED = 2
    DELIVERED = 4
    BOUNCED = 8
    BLOCKED = 16
    DROPPED = 32
    OPENED = 64
    MACHINE_OPENED = 128
    CLICKED = 256
    COMPLAINED = 512
    UNSUBSCRIBED = 1024
    UNDELIVERED = 2048
    EXPIRED = 4096
    REJECTED = 8192
    REPLIED = 16384
    OPTED_OUT = 32768
    MACHINE_CLICKED = 65536

    @property
    def words(self) -> list[str]:
        """The names of the set bits in the order of a message's life, e.g. `["processed", "delivered"]`."""
        return [bit.name.lower() for bit in Feedback if bit in self and bit.name]


ENGAGEMENT = Feedback.OPENED | Feedback.MACHINE_OPENED | Feedback.CLICKED | Feedback.MACHINE_CLICKED


class Breakdown(StrEnum):
    """By what the counts of an execution are told apart: the column of `stats` whose messages or events the reasons add up to."""

    EXCLUDED = "excluded"
    BOUNCED = "bounced"
    BLOCKED = "blocked"
    DROPPED = "dropped"


class UnsubscribeScope(StrEnum):
    """What the link in a flow's messages ends by one click: everything, or this flow only."""

    EVERYWHERE = "everywhere"
    FLOW = "flow"


class WebhookProblem(StrEnum):
    """Why an event was not applied: nobody can read it, applying it failed, or its message is not known (yet)."""

    UNREADABLE = "unreadable"
    FAILED = "failed"
    UNMATCHED = "unmatched"


class WebhookEventState(StrEnum):
    """`GONE`: what the webhook said is not stored any more, since its client was erased or it was kept for long enough."""

    OPEN = "open"
    APPLIED = "applied"
    GONE = "gone"


class InboxState(StrEnum):
    RECEIVED = "received"
    APPLIED = "applied"
    FAILED = "failed"


class ImportState(StrEnum):
    """The life of a member import. `UNDOING` takes back, run by run, what the import did; `UNDONE` has done so."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    UNDOING = "undoing"
    UNDONE = "undone"


class ImportPolicy(StrEnum):
    """What an import does with a client that exists already.

    `UPDATE` lets values of the file win, `FILL` only writes what is empty, `SKIP` leaves the client alone (though it is put on
    the list).
    """

    UPDATE = "update"
    FILL = "fill"
    SKIP = "skip"


class BulkAction(StrEnum):
    """What is done to many clients at once."""

    ADD_TAGS = "add_tags"
    REMOVE_TAGS = "remove_tags"
    ADD_TO_LIST = "add_to_list"
    REMOVE_FROM_LIST = "remove_from_list"
    DELETE = "delete"


class BulkState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class ScheduleKind(StrEnum):
    ONCE = "once"
    CRON = "cron"
    RRULE = "rrule"


class MissedPolicy(StrEnum):
    """What happens to a send whose moment fell into an outage."""

    SEND = "send"
    SKIP = "skip"
    ASK = "ask"


class JobKind(StrEnum):
    """What gave up: a batch after its attempts, all requests of an execution, an execution's runs, an import, a
    bulk operation, or the waiting for evidence about unknown messages."""

    SEND_BATCH = "send_batch"
    REQUEST_REFUSED = "request_refused"
    EXECUTION = "execution"
    IMPORT = "import"
    BULK_OPERATION = "bulk_operation"
    UNKNOWN_OUTCOME = "unknown_outcome"


class JobState(StrEnum):
    OPEN = "open"
    RETRIED = "retried"


class RetryEffect(StrEnum):
    """What retrying a failed job did.

    `DISPATCHED` asks for a new Prefect run. `WAITING` made messages pending again, which leave with the run that is on, or
    when their paused execution is resumed. `NOTHING` found that nothing was waiting for the retry any more.
    """

    DISPATCHED = "dispatched"
    WAITING = "waiting"
    NOTHING = "nothing"
