"""Saved mappings: kept for the next file of the same kind."""

from fastapi import APIRouter

from api.abilities import Ability, needs
from api.dependencies import DatabaseDep, ItemId, PageDep
from api.errors import responses
from api.schemas.base import PageOut
from api.schemas.import_mappings import MappingIn, SavedMappingOut
from db.engine import Database
from db.errors import Invalid
from db.queries import custom_fields, import_mappings
from tasks.imports.mapping import validate_mapping
from tasks.imports.plan import to_stored

router = APIRouter(prefix="/api/import-mappings", tags=["member imports"])


@router.post("", status_code=201, responses=responses(409), dependencies=[needs(Ability.IMPORTS_WRITE)])
def create_mapping(database: DatabaseDep, body: MappingIn) -> SavedMappingOut:
    """Keep a mapping under a name: an import takes it by `mapping_name`."""
    _check(database, body)
    return database.run(
        lambda s: SavedMappingOut.of(
            import_mappings.insert_mapping(s, name=body.name, mapping=to_stored(body.mapping()))
        )
    )


@router.get("", dependencies=[needs(Ability.IMPORTS_READ)])
def list_mappings(database: DatabaseDep, page: PageDep) -> PageOut[SavedMappingOut]:
    with database.reading() as session:
        found = import_mappings.list_mappings(session, after=page.cursor, limit=page.limit)
        items = [SavedMappingOut.of(row) for row in found.items]
    return PageOut[SavedMappingOut](items=items, next_cursor=found.next_cursor)


@router.get("/{mapping_id}", responses=responses(404), dependencies=[needs(Ability.IMPORTS_READ)])
def get_mapping(database: DatabaseDep, mapping_id: ItemId) -> SavedMappingOut:
    with database.reading() as session:
        return SavedMappingOut.of(import_mappings.get_mapping(session, mapping_id))


@router.put("/{mapping_id}", responses=responses(404, 409), dependencies=[needs(Ability.IMPORTS_WRITE)])
def update_mapping(database: DatabaseDep, mapping_id: ItemId, body: MappingIn) -> SavedMappingOut:
    """Replace a mapping. Imports that used it stay as they are."""
    _check(database, body)
    return database.run(
        lambda s: SavedMappingOut.of(
            import_mappings.update_mapping(s, mapping_id, name=body.name, mapping=to_stored(body.mapping()))
        )
    )


@router.delete(
    "/{mapping_id}", status_code=204, responses=responses(404), dependencies=[needs(Ability.IMPORTS_WRITE)]
)
def delete_mapping(database: DatabaseDep, mapping_id: ItemId) -> None:
    database.run(lambda s: import_mappings.delete_mapping(s, mapping_id))


def _check(database: Database, body: MappingIn) -> None:
    """Targets must be known, and custom fields that exist have the kind that the mapping gives them."""
    mapping = body.mapping()
    with database.reading() as session:
        fields = custom_fields.list_field_types(session)
    try:
        validate_mapping(mapping, list(body.columns), fields=fields)
    except Invalid as error:
        # A mapping is the body itself here, and no field of it.
        field = error.field.removeprefix("mapping").removeprefix(".") or "columns"
        raise Invalid(field, error.message) from error
