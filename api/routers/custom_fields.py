"""Custom fields: defined once, and then the same for clients, imports, rules and templates."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from api.abilities import Ability, needs
from api.dependencies import DatabaseDep
from api.errors import responses
from api.etags import MatchDep
from api.schemas.base import PageOut
from api.schemas.custom_fields import CustomFieldIn, CustomFieldOut, CustomFieldPatch
from db.engine import Session
from db.fields import KEY
from db.models import CustomField
from db.queries import custom_fields, field_definitions

router = APIRouter(prefix="/api/custom-fields", tags=["custom fields"])
FieldKey = Annotated[str, Path(pattern=f"^{KEY.pattern}$", examples=["city"])]


@router.post("", status_code=201, responses=responses(409), dependencies=[needs(Ability.FIELDS_WRITE)])
def create_custom_field(database: DatabaseDep, body: CustomFieldIn) -> CustomFieldOut:
    """Define a field. At most 200 are possible."""
    values = body.model_dump()
    return database.run(
        lambda s: CustomFieldOut.model_validate(field_definitions.insert_custom_field(s, values))
    )


@router.get("", dependencies=[needs(Ability.FIELDS_READ)])
def list_custom_fields(database: DatabaseDep) -> PageOut[CustomFieldOut]:
    """All fields by key, in one page."""
    with database.reading() as session:
        items = [CustomFieldOut.model_validate(field) for field in custom_fields.list_custom_fields(session)]
    return PageOut[CustomFieldOut](items=items, next_cursor=None)


@router.get("/{key}", responses=responses(404), dependencies=[needs(Ability.FIELDS_READ)])
def get_custom_field(database: DatabaseDep, match: MatchDep, key: FieldKey) -> CustomFieldOut:
    with database.reading() as session:
        return match.tag(_out(session, key))


@router.patch("/{key}", responses=responses(404, 409), dependencies=[needs(Ability.FIELDS_WRITE)])
def update_custom_field(
    database: DatabaseDep, match: MatchDep, key: FieldKey, body: CustomFieldPatch
) -> CustomFieldOut:
    """Change label, choices or kind. 409 when values of clients would not fit any more, with how many."""
    values = body.model_dump(exclude_unset=True)

    def work(session: Session) -> CustomFieldOut:
        match.require(session, CustomField, CustomField.key == key, as_it_is=lambda: _out(session, key))
        return CustomFieldOut.model_validate(field_definitions.update_custom_field(session, key, values))

    return match.tag(database.run(work))


@router.delete(
    "/{key}", status_code=204, responses=responses(404, 409), dependencies=[needs(Ability.FIELDS_DELETE)]
)
def delete_custom_field(
    database: DatabaseDep,
    key: FieldKey,
    values: Annotated[
        Literal["keep", "delete"], Query(description="delete: the values that clients have in it go too.")
    ] = "keep",
) -> None:
    """Delete a field that no rule names. With values, `?values=delete` removes those first, 5,000 clients at a time."""
    database.run(lambda s: field_definitions.check_deletable(s, key))
    after: int | None = 0 if values == "delete" else None
    while after is not None:
        last = after
        after = database.run(lambda s, last=last: field_definitions.remove_values(s, key, after=last))  # type: ignore[misc]
    database.run(lambda s: field_definitions.delete_custom_field(s, key))


def _out(session: Session, key: str) -> CustomFieldOut:
    return CustomFieldOut.model_validate(field_definitions.get_custom_field(session, key))
