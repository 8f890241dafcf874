"""Templates and their versions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, load_only

from db.dialect import utc_now
from db.errors import Conflict, NotFound
from db.models import Flow, FlowStep, Template, TemplateVersion
from db.queries.pages import Page, page_of
from db.states import Channel, FlowState


@dataclass(frozen=True)
class Content:
    """What a version consists of; SMS has only text."""

    subject: str
    html: str
    text: str


@dataclass(frozen=True)
class TemplateWithVersion:
    template: Template
    version: TemplateVersion


def get_template(session: Session, template_id: int) -> TemplateWithVersion:
    """A template that is not archived, and its current version."""
    template = session.get(Template, template_id)
    if template is None or template.archived_at is not None:
        raise NotFound("template", template_id)
    return TemplateWithVersion(template, _current(session, template))


def list_templates(
    session: Session, *, after: int, limit: int, channel: Channel | None = None
) -> Page[TemplateWithVersion]:
    """Templates that are not archived. Of their current versions only number and subject are read, as the sources
    may be large: the rest of a version raises when it is touched."""
    query = select(Template).where(Template.archived_at.is_(None))
    if channel is not None:
        query = query.where(Template.channel == channel)
    page = page_of(session, query, Template.id, after=after, limit=limit)
    is_current = (Template.id == TemplateVersion.template_id) & (
        Template.current_version == TemplateVersion.version
    )
    rows = session.scalars(
        select(TemplateVersion)
        .join(Template, is_current)
        .where(Template.id.in_([template.id for template in page.items]))
        .options(
            load_only(
                TemplateVersion.template_id,
                TemplateVersion.version,
                TemplateVersion.subject,
                raiseload=True,
            )
        )
    )
    versions = {version.template_id: version for version in rows}
    items = [TemplateWithVersion(template, versions[template.id]) for template in page.items]
    return Page(items, page.next_cursor)


def list_versions(
    session: Session, template_id: int, *, before: int | None, limit: int
) -> Page[TemplateVersion]:
    """Versions with a number below `before`, newest first; the cursor is a version's number."""
    get_template(session, template_id)
    query = select(TemplateVersion).where(TemplateVersion.template_id == template_id)
    if before is not None:
        query = query.where(TemplateVersion.version < before)
    rows = session.scalars(query.order_by(TemplateVersion.version.desc()).limit(limit + 1)).all()
    items = rows[:limit]
    return Page(items, items[-1].version if len(rows) > limit else None)


def insert_template(session: Session, name: str, channel: Channel, content: Content) -> TemplateWithVersion:
    """A new template with its first version. Raises Conflict when the name is taken."""
    template = Template(name=name, channel=channel, current_version=1)
    _store(session, template, {})
    return TemplateWithVersion(template, _insert_version(session, template, content))


def update_template(
    session: Session, template_id: int, *, name: str | None, content: Content, based_on: int
) -> TemplateWithVersion:
    """Rename, and make a new version if the content differs; versions never change.

    `based_on` is the version that `content` was made from.

    Raises:
        NotFound: there is no such template, or it is archived.
        Conflict: the name is taken, or somebody made a newer version meanwhile.
    """
    template = _lock(session, template_id)
    version = _current(session, template)
    is_new = content != Content(version.subject, version.html, version.text)
    if is_new and version.version != based_on:
        raise Conflict(
            f"version {version.version} was made meanwhile, on top of version {based_on}; read it and try again"
        )
    changes: dict[str, Any] = {"name": name} if name is not None else {}
    if is_new:
        changes["current_version"] = version.version + 1
    _store(session, template, changes)
    return TemplateWithVersion(template, _insert_version(session, template, content) if is_new else version)


def archive_template(session: Session, template_id: int) -> None:
    """Hide a template; its versions stay for the executions that used them. Raises Conflict while a flow uses it."""
    template = _lock(session, template_id)
    flow_id = session.scalars(
        select(FlowStep.flow_id)
        .join(Flow, Flow.id == FlowStep.flow_id)
        .where(FlowStep.template_id == template_id, Flow.state != FlowState.ARCHIVED)
        .order_by(FlowStep.flow_id)
        .limit(1)
    ).one_or_none()
    if flow_id is not None:
        raise Conflict(f"flow {flow_id} uses this template; change or archive the flow first")
    # The name becomes free for a new template.
    template.name = f"{template.name[:120]} (archived {template.id})"
    template.archived_at = session.scalar(select(utc_now()))
    session.flush()


def _lock(session: Session, template_id: int) -> Template:
    template = session.scalars(
        select(Template)
        .where(Template.id == template_id, Template.archived_at.is_(None))
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if template is None:
        raise NotFound("template", template_id)
    return template


def _current(session: Session, template: Template) -> TemplateVersion:
    return session.scalars(
        select(TemplateVersion).where(
            TemplateVersion.template_id == template.id, TemplateVersion.version == template.current_version
        )
    ).one()


def _insert_version(session: Session, template: Template, content: Content) -> TemplateVersion:
    version = TemplateVersion(template_id=template.id, version=template.current_version, **vars(content))
    session.add(version)
    session.flush()
    return version


def _store(session: Session, template: Template, changes: Mapping[str, Any]) -> None:
    """Apply the changes and write the template. Behind a savepoint: a conflict leaves the session usable."""
    name = changes.get("name", template.name)
    try:
        with session.begin_nested():
            for column, value in changes.items():
                setattr(template, column, value)
            session.add(template)
            session.flush()
    except IntegrityError as error:
        raise Conflict(f"a template named '{name}' exists already", "name") from error
