"""A small example to look around in: clients, a list, an email and an SMS template, and a flow for each."""

from sqlalchemy.orm import Session

from db.engine import Database
from db.errors import Conflict
from db.fields import FieldKind
from db.models import ClientList
from db.queries import client_lists, clients, custom_fields, flows, templates
from db.queries.flows import StepInput
from db.queries.templates import Content
from db.states import Channel, FlowState, StepKind
from deployments.demo import EMAIL_HTML, EMAIL_SUBJECT, SMS_TEXT
from tasks.templates.text import html_to_text

_PEOPLE = (
    ("ada@example.com", "+353871000001", "Ada", "Lovelace", "Cork"),
    ("grace@example.com", "+353871000002", "Grace", "Hopper", "Dublin"),
    ("alan@example.org", None, "Alan", "Turing", "Galway"),
    (None, "+353871000004", "Edsger", "Dijkstra", "Sligo"),
)


def seed_database(database: Database) -> str:
    """Write the example once; says what was done."""
    try:
        database.run(_seed)
    except Conflict as error:
        return f"the example is there already ({error})"
    return "4 clients, the list 'Example clients', 2 templates and 2 active flows were made"


def _seed(session: Session) -> None:
    client_list = client_lists.insert_client_list(session, {"name": "Example clients"})
    custom_fields.ensure_custom_fields(session, {"city": FieldKind.TEXT})
    members = [
        clients.insert_client(
            session,
            {
                "email": email,
                "phone": phone,
                "first_name": first,
                "last_name": last,
                "custom_fields": {"city": city},
            },
        ).id
        for email, phone, first, last, city in _PEOPLE
    ]
    client_lists.insert_members(session, client_list.id, members)
    text = html_to_text(EMAIL_HTML)
    email = templates.insert_template(
        session, "Example email", Channel.EMAIL, Content(EMAIL_SUBJECT, EMAIL_HTML, text)
    )
    sms = templates.insert_template(session, "Example SMS", Channel.SMS, Content("", "", SMS_TEXT))
    _flow(
        session, "Example by email", client_list, email.template.id, {"from_email": "news@shop.example.com"}
    )
    _flow(session, "Example by SMS", client_list, sms.template.id, {"sender_id": "TheShop"})


def _flow(
    session: Session, name: str, client_list: ClientList, template_id: int, sender: dict[str, str]
) -> None:
    values = {"name": name, "client_list_id": client_list.id, "sender": sender}
    flow = flows.insert_flow(session, values, [StepInput(StepKind.SEND, template_id)])
    flows.set_flow_state(session, flow.id, FlowState.ACTIVE)
