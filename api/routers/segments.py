"""Segment rules: their schema, what they mean, and whom they would choose."""

from typing import Any

from fastapi import APIRouter

from api.abilities import Ability, needs, require_for_rule
from api.dependencies import CurrentCaller, DatabaseDep, ItemId, SettingsDep
from api.errors import responses
from api.schemas.segments import ExplanationOut, PreviewOut, RuleIn
from db.errors import Conflict
from db.queries.client_lists import get_client_list
from db.queries.segments import list_shapes
from tasks.segments.previewing import explain_document, preview
from tasks.segments.schema import rule_schema

router = APIRouter(prefix="/api/client-lists", tags=["segments"])


@router.get("/rule-schema", dependencies=[needs(Ability.LISTS_READ)])
def get_rule_schema(database: DatabaseDep) -> dict[str, Any]:
    """The JSON schema (2020-12) of rules, with the custom fields that there are now."""
    with database.reading() as session:
        return rule_schema(list_shapes(session))


@router.post("/preview", dependencies=[needs(Ability.LISTS_WRITE)])
def preview_rule(
    database: DatabaseDep, settings: SettingsDep, caller: CurrentCaller, body: RuleIn
) -> PreviewOut:
    """Whom a rule would choose now. Nothing is saved."""
    require_for_rule(caller, body.rule)
    return PreviewOut.model_validate(preview(database, body.rule, seconds=settings.list_count_seconds))


@router.post("/explain", dependencies=[needs(Ability.LISTS_READ)])
def explain_rule(database: DatabaseDep, body: RuleIn) -> ExplanationOut:
    """A rule in plain English. Nothing is saved."""
    with database.reading() as session:
        return ExplanationOut(explanation=explain_document(session, body.rule))


@router.get("/{list_id}/explain", responses=responses(404, 409), dependencies=[needs(Ability.LISTS_READ)])
def explain_list(database: DatabaseDep, caller: CurrentCaller, list_id: ItemId) -> ExplanationOut:
    """The rule of a dynamic list in plain English."""
    with database.reading() as session:
        client_list = get_client_list(session, list_id)
        if client_list.rule is None:
            raise Conflict(f"list {list_id} is static: its members were chosen one by one, or by imports")
        require_for_rule(caller, client_list.rule)
        return ExplanationOut(explanation=explain_document(session, client_list.rule))
