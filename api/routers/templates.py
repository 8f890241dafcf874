"""Templates: versions, previews and test sends."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.abilities import Ability, needs
from api.dependencies import DatabaseDep, ItemId, PageDep, SettingsDep
from api.errors import FieldError, ProviderRefused, TemplateRefused, responses
from api.etags import MatchDep
from api.schemas.base import PageOut
from api.schemas.clients import ClientOut
from api.schemas.templates import (
    PreviewIn,
    PreviewOut,
    SampleClient,
    SmsSizeOut,
    TemplateIn,
    TemplateItem,
    TemplateOut,
    TemplatePatch,
    TestSendIn,
    TestSendOut,
    VersionOut,
)
from db.engine import Database, Session
from db.models import Template
from db.queries import clients, templates
from db.queries.custom_fields import list_field_types
from db.queries.templates import Content, TemplateWithVersion
from db.states import Channel
from tasks.sending.trial import send_test
from tasks.templates.checking import Draft, complete, problems_of, revised, variables_of, warnings_of
from tasks.templates.context import client_context
from tasks.templates.footer import with_unsubscribe_link
from tasks.templates.liquid import Part
from tasks.templates.personalization import RenderFailed
from tasks.templates.preview import SmsPreview, preview_email, preview_sms

router = APIRouter(prefix="/api/templates", tags=["templates"])
_EXAMPLE_LINK = "/unsubscribe/preview"
_SHOWN_PROBLEMS = 50


@router.post("", status_code=201, responses=responses(409), dependencies=[needs(Ability.TEMPLATES_WRITE)])
def create_template(database: DatabaseDep, body: TemplateIn) -> TemplateOut:
    """Create a template. A broken one is refused, with part, line and reason."""
    content = _checked(body.channel, Draft(body.subject, body.html, body.text))
    return database.run(lambda s: _out(s, templates.insert_template(s, body.name, body.channel, content)))


@router.get("", dependencies=[needs(Ability.TEMPLATES_READ)])
def list_templates(
    database: DatabaseDep, page: PageDep, channel: Annotated[Channel | None, Query()] = None
) -> PageOut[TemplateItem]:
    """Templates without their sources; archived ones are left out."""
    with database.reading() as session:
        found = templates.list_templates(session, after=page.cursor, limit=page.limit, channel=channel)
        items = [TemplateItem.of(item) for item in found.items]
    return PageOut[TemplateItem](items=items, next_cursor=found.next_cursor)


@router.get("/{template_id}", responses=responses(404), dependencies=[needs(Ability.TEMPLATES_READ)])
def get_template(database: DatabaseDep, match: MatchDep, template_id: ItemId) -> TemplateOut:
    """The template with the sources of its current version."""
    with database.reading() as session:
        return match.tag(_out(session, templates.get_template(session, template_id)))


@router.patch("/{template_id}", responses=responses(404, 409), dependencies=[needs(Ability.TEMPLATES_WRITE)])
def update_template(
    database: DatabaseDep, match: MatchDep, template_id: ItemId, body: TemplatePatch
) -> TemplateOut:
    """Change a template. New content is a new version; executions that exist keep theirs."""
    found = _find(database, template_id)
    channel, version = found.template.channel, found.version
    changes = body.model_dump(exclude_unset=True, exclude={"name"})
    content = Content(version.subject, version.html, version.text)
    if changes:
        content = _checked(channel, revised(channel, Draft(**vars(content)), changes))
    name = body.name if "name" in body.model_fields_set else None

    def work(session: Session) -> TemplateOut:
        match.require(
            session,
            Template,
            Template.id == template_id,
            as_it_is=lambda: _out(session, templates.get_template(session, template_id)),
        )
        return _out(
            session,
            templates.update_template(
                session, template_id, name=name, content=content, based_on=version.version
            ),
        )

    return match.tag(database.run(work))


@router.delete(
    "/{template_id}",
    status_code=204,
    responses=responses(404, 409),
    dependencies=[needs(Ability.TEMPLATES_DELETE)],
)
def delete_template(database: DatabaseDep, template_id: ItemId) -> None:
    """Archive a template; refused while a flow uses it."""
    database.run(lambda s: templates.archive_template(s, template_id))


@router.get("/{template_id}/versions", responses=responses(404), dependencies=[needs(Ability.TEMPLATES_READ)])
def list_versions(database: DatabaseDep, template_id: ItemId, page: PageDep) -> PageOut[VersionOut]:
    """All versions, newest first; the cursor is a version's number."""
    with database.reading() as session:
        return PageOut[VersionOut].of(
            templates.list_versions(session, template_id, before=page.cursor or None, limit=page.limit)
        )


@router.post(
    "/{template_id}/preview", responses=responses(404), dependencies=[needs(Ability.TEMPLATES_WRITE)]
)
def preview_template(
    database: DatabaseDep, settings: SettingsDep, template_id: ItemId, body: PreviewIn
) -> PreviewOut:
    """What a client would get, which variables are empty for it, and the size of an SMS."""
    found = _find(database, template_id)
    context = client_context(_values(database, body), settings.public_url + _EXAMPLE_LINK)
    version = found.version
    if found.template.channel is Channel.SMS:
        sms = preview_sms(version.text, context)
        return _sms_out(sms) if isinstance(sms, SmsPreview) else _fail(sms)
    html, text = with_unsubscribe_link(version.html, version.text)
    email = preview_email(version.subject, html, text, context)
    if isinstance(email, RenderFailed):
        return _fail(email)
    return PreviewOut(subject=email.subject, html=email.html, text=email.text, missing=list(email.missing))


@router.post(
    "/{template_id}/test-send",
    responses=responses(404, 409, 502),
    dependencies=[needs(Ability.TEMPLATES_SEND)],
)
def test_send(
    database: DatabaseDep, settings: SettingsDep, template_id: ItemId, body: TestSendIn
) -> TestSendOut:
    """Send one real message to an address, marked as a test. Suppressed addresses are refused."""
    found = _find(database, template_id)
    values = _values(database, PreviewIn(client_id=body.client_id))
    sender = body.model_dump(include={"from_email", "sender_id"})
    outcome = send_test(database, settings, found, to=body.to, client=values, sender=sender)
    if outcome.refusal is not None:
        raise ProviderRefused(outcome.refusal)
    return TestSendOut(provider_message_id=outcome.provider_message_id, detail="the provider took it")


def _find(database: Database, template_id: int) -> TemplateWithVersion:
    with database.reading() as session:
        return templates.get_template(session, template_id)


def _checked(channel: Channel, draft: Draft) -> Content:
    found = problems_of(channel, draft)
    if found:
        raise TemplateRefused(
            [
                FieldError(
                    field=f"body.{Part.TEXT if problem.part is Part.SMS else problem.part}",
                    message=f"line {problem.line}: {problem.reason}",
                    line=problem.line,
                )
                for problem in found[:_SHOWN_PROBLEMS]
            ]
        )
    return Content(**vars(complete(channel, draft)))


def _values(database: Database, body: PreviewIn) -> dict[str, Any]:
    if body.client_id is None:
        return (body.sample or SampleClient()).model_dump()
    with database.reading() as session:
        return ClientOut.model_validate(clients.get_client(session, body.client_id)).model_dump()


def _out(session: Session, found: TemplateWithVersion) -> TemplateOut:
    version = found.version
    used = variables_of(Draft(version.subject, version.html, version.text))
    return TemplateOut.of(found, used, warnings_of(used, list_field_types(session)))


def _sms_out(sms: SmsPreview) -> PreviewOut:
    return PreviewOut(text=sms.text, missing=list(sms.missing), sms=SmsSizeOut.model_validate(sms.size))


def _fail(failure: RenderFailed) -> PreviewOut:
    raise TemplateRefused([FieldError(field="body", message=failure.reason)])
