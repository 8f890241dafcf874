"""A small installation with something of everything, so that requests find what they ask about."""

from datetime import UTC, datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from db.dialect import utc_in
from db.engine import Database
from db.models import (
    Asset,
    Batch,
    BulkOperation,
    FailedJob,
    Flow,
    ImportMapping,
    MemberImport,
    WebhookDelivery,
    WebhookEvent,
)
from db.queries import ledger
from db.queries.audit import NewEntry, insert_entry
from db.queries.cms_pages import PageContent, insert_page, publish_page
from db.queries.executions import insert_execution, pause_execution, prepare_execution
from db.queries.leases import expire_sending
from db.queries.outgoing import insert_endpoint, tell_one
from db.queries.sign_ups import insert_sign_up
from db.queries.suppressions import SuppressionChange, apply_suppressions, hold_gate
from db.queries.tokens import NewToken, insert_token
from db.queries.users import insert_user
from db.states import (
    BulkAction,
    Channel,
    EventType,
    InboxState,
    PageFormat,
    Role,
    SuppressionReason,
    WebhookProblem,
)
from deployments.seed import seed_database
from tasks.imports.mapping import ColumnMapping
from tasks.imports.plan import to_stored
from tests.builders import to_sending


def fill(database: Database) -> None:
    """The example of `ics seed`, executions in several states, and what operators look at."""
    seed_database(database)
    accepted = _execution(database, 1)
    batch = database.run(lambda s: ledger.claim_batch(s, accepted, lease_seconds=60))
    assert batch is not None
    database.run(lambda s: to_sending(s, batch))
    database.run(lambda s: ledger.accept_batch(s, batch, "X-1"))
    unknown = _execution(database, 1)
    held = database.run(lambda s: ledger.claim_batch(s, unknown, lease_seconds=60))
    assert held is not None
    database.run(lambda s: to_sending(s, held))
    database.run(lambda s: s.execute(update(Batch).where(Batch.id == held.id).values(lease_until=utc_in(-1))))
    database.run(lambda s: expire_sending(s, unknown))
    paused = _execution(database, 2)
    database.run(lambda s: pause_execution(s, paused, reason="lunch"))
    database.run(_add_the_rest)
    database.run(_add_people_and_pages)


def _add_people_and_pages(session: Session) -> None:
    """A user with a token, a published page with a form and somebody who filled it in, a file, an endpoint that was told."""
    user = insert_user(session, email="ada@example.com", name="Ada", role=Role.EDITOR)
    insert_token(session, NewToken("till", user_id=user.id))
    form = {"consent_text": "Write to me.", "from_email": "shop@example.com", "fields": []}
    content = PageContent("Spring", PageFormat.MARKDOWN, "# Hello", "<h1>Hello</h1>", {}, form, "Thank you")
    page = insert_page(session, "spring", content, created_by="fuzz")
    publish_page(session, page.page.id, None, at=None)
    insert_sign_up(
        session,
        page_id=page.page.id,
        version=1,
        email="eve@example.com",
        mailbox="eve@example.com",
        given={},
        utm={},
        address="127.0.0.1",
    )
    session.add(
        Asset(
            name="a.txt",
            title="a.txt",
            media_type="text/plain",
            size=1,
            digest="0" * 64,
            content=b"a",
            created_by="x",
        )
    )
    insert_endpoint(
        session,
        url="https://crm.example.com/",
        description="",
        events=["ping"],
        secret=b"x",
        created_by="fuzz",
    )
    tell_one(session, EventType.PING, 1, {})
    insert_entry(session, NewEntry("user Ada", "flows:send"))


def _execution(database: Database, flow_id: int) -> int:
    def work(session: Session) -> int:
        execution = insert_execution(session, session.get_one(Flow, flow_id))
        prepare_execution(session, execution.id, batch_sizes=dict.fromkeys(Channel, 10))
        return execution.id

    return database.run(work)


def _add_the_rest(session: Session) -> None:
    hold_gate(session, alone=True)
    change = SuppressionChange(
        Channel.EMAIL, "gone@example.com", SuppressionReason.MANUAL, datetime.now(UTC), "fuzz"
    )
    apply_suppressions(session, [change])
    mapping = to_stored(ColumnMapping.from_json({"columns": {"Mail": "email"}, "default_region": "IE"}))
    session.add_all(
        [
            MemberImport(uid="a" * 12, filename="clients.csv", size_bytes=1, mapping=mapping),
            BulkOperation(
                uid="b" * 12, action=BulkAction.ADD_TAGS, arguments={"tags": ["x"]}, created_by="fuzz"
            ),
            ImportMapping(name="Old shop", mapping=mapping),
            FailedJob(kind="execution", execution_id=3, subject={"execution_id": 3}, error="gave up"),
            FailedJob(
                kind="send_batch", execution_id=1, subject={"execution_id": 1, "batch_id": 1}, error="no"
            ),
            WebhookDelivery(source="sendgrid", body=b"[7]", size=3, state=InboxState.APPLIED),
            WebhookDelivery(source="sendgrid", body=b"[8]", size=3, state=InboxState.FAILED, error="odd"),
            WebhookEvent(
                fingerprint=b"f" * 32,
                delivery_id=1,
                source="sendgrid",
                problem=WebhookProblem.UNREADABLE,
                reason="an event has to be an object",
            ),
        ]
    )
