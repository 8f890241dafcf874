"""What a send of a flow would do now, told by the code that would do it. Nothing is written, no provider is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from liquid.exceptions import LiquidError

from db.engine import Database, Session
from db.models import Flow, TemplateVersion
from db.queries import flows, rate_limits
from db.queries.audience import (
    AudienceCounts,
    ClientField,
    Target,
    count_audience,
    count_empty,
    sample_recipients,
)
from db.states import Channel
from settings import Settings
from tasks.sending.configuration import ProviderNotConfigured, require_provider
from tasks.sending.estimate import Limit, requests_alone, requests_needed, seconds_needed
from tasks.sending.readiness import Missing, missing_of, refusal_of
from tasks.sending.sample import SAMPLE_SIZE, Content, Measured, make_content
from tasks.templates.liquid import CLIENT_FIELDS

_TEMPLATE = "steps.0.template_id"


@dataclass(frozen=True)
class DryRun:
    """What a send would do. What cannot be told because of the `problems`, which keep the flow from being sent, is None.

    `missing` says for how many recipients a variable of the template is empty; variables that everybody has are left
    out. `seconds` is the least time that the rate limits allow; None when there are none.
    """

    flow_id: int
    channel: Channel | None
    problems: Sequence[Missing]
    audience: AudienceCounts | None = None
    missing: Mapping[str, int] = field(default_factory=dict)
    measured: Measured | None = None
    requests: int | None = None
    seconds: float | None = None


def dry_run(database: Database, settings: Settings, flow_id: int) -> DryRun:
    """What a send of this flow would do now, whatever its state.

    Raises:
        NotFound: there is no such flow.
    """
    with database.reading() as session:
        flow = flows.get_flow(session, flow_id)
        steps = flows.list_send_steps(session, flow_id)
        archived = flows.find_archived_template(session, flow_id)
    if not steps:
        return DryRun(flow_id, None, _problems_of(settings, flow, None, archived))
    _, template, version = steps[0]
    channel = template.channel
    content, refusal = _compile(settings, flow, channel, version)
    problems = _problems_of(settings, flow, channel, archived)
    if refusal is not None:
        problems.append(Missing(_TEMPLATE, refusal))
    found = DryRun(flow_id, channel, problems)
    if flow.client_list_id is None:
        return found
    target = Target(flow_id, flow.client_list_id, channel, flow.requires_consent)
    return _with_audience(database, settings, found, target, content)


def rate_limits_of(session: Session, flow_id: int, channel: Channel) -> Sequence[Limit]:
    """The limits that a send of the flow is held to."""
    return [
        Limit(limit.requests_per_second, limit.messages_per_second)
        for limit in rate_limits.list_limits_of(session, channel, flow_id)
    ]


def _problems_of(
    settings: Settings, flow: Flow, channel: Channel | None, archived_template: int | None
) -> list[Missing]:
    problems = missing_of(
        channel=channel,
        client_list_id=flow.client_list_id,
        sender=flow.sender,
        archived_template=archived_template,
    )
    refusal = refusal_of(flow.state)
    if refusal is not None:
        problems.append(Missing("state", refusal))
    if channel is not None:
        try:
            require_provider(settings, channel)
        except ProviderNotConfigured as error:
            problems.append(Missing(error.variable, str(error)))
    return problems


def _compile(
    settings: Settings, flow: Flow, channel: Channel, version: TemplateVersion
) -> tuple[Content | None, str | None]:
    """The content, or why it cannot be sent to anybody."""
    try:
        content = make_content(settings, channel, flow.id, flow.sender, version)
    except LiquidError as error:
        return None, f"the template is broken: {error.message}"
    refusal = content.find_refusal()
    return (content, None) if refusal is None else (None, refusal)


def _with_audience(
    database: Database, settings: Settings, found: DryRun, target: Target, content: Content | None
) -> DryRun:
    fields = _fields_of(content.variables) if content is not None else {}
    with database.reading() as session:
        audience = count_audience(session, target)
        recipients = audience.recipients
        empty = count_empty(session, target, list(fields.values()))
        sample = sample_recipients(session, target, recipients=recipients, size=SAMPLE_SIZE)
        limits = rate_limits_of(session, target.flow_id, target.channel)
    measured = content.measure(sample, recipients=recipients) if content is not None else None
    requests = requests_needed(target.channel, recipients, batch_size=settings.email_batch_size)
    if measured is not None:
        requests += requests_alone(measured.alone, recipients=recipients, sampled=measured.sampled)
    return replace(
        found,
        problems=[*found.problems, *_nobody(audience)],
        audience=audience,
        missing={path: count for path, count in zip(fields, empty, strict=True) if count},
        measured=measured,
        requests=requests,
        seconds=seconds_needed(requests, recipients, limits),
    )


def _nobody(audience: AudienceCounts) -> list[Missing]:
    if audience.recipients:
        return []
    why = "the list is empty" if not audience.total else f"all {audience.total} clients are excluded"
    return [Missing("client_list_id", f"nobody would be written to: {why}")]


def _fields_of(paths: frozenset[str]) -> dict[str, ClientField]:
    """The fields of the client that a template's variables read, by path; `client.tags.first` reads `client.tags`."""
    fields: dict[str, ClientField] = {}
    for path in sorted(paths):
        match path.split("."):
            case ["client", "custom", member, *_]:
                fields[f"client.custom.{member}"] = ClientField("custom_fields", member)
            case ["client", "custom"]:
                fields[path] = ClientField("custom_fields")
            case ["client", name, *_] if name in CLIENT_FIELDS:
                fields[f"client.{name}"] = ClientField(name)
    return fields
