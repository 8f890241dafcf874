"""Files of pages."""

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, defer

from db.errors import NotFound
from db.models import Asset
from db.queries.pages import Page, page_of


def insert_asset(session: Session, asset: Asset) -> Asset:
    session.add(asset)
    session.flush()
    session.refresh(asset, ["id", "created_at"])
    return asset


def get_asset(session: Session, asset_id: int) -> Asset:
    """Without its content. Raises NotFound."""
    found = session.scalars(
        select(Asset).where(Asset.id == asset_id).options(defer(Asset.content))
    ).one_or_none()
    if found is None:
        raise NotFound("asset", asset_id)
    return found


def find_asset(session: Session, name: str) -> Asset | None:
    """With its content."""
    return session.scalars(select(Asset).where(Asset.name == name)).one_or_none()


def list_assets(session: Session, *, after: int, limit: int) -> Page[Asset]:
    """Without their contents."""
    return page_of(session, select(Asset).options(defer(Asset.content)), Asset.id, after=after, limit=limit)


def delete_asset(session: Session, asset_id: int) -> None:
    """Raises NotFound."""
    get_asset(session, asset_id)
    session.execute(delete(Asset).where(Asset.id == asset_id))
