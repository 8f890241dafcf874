"""For machines that watch: metrics in Prometheus' text format."""

from hmac import compare_digest

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.dependencies import DatabaseDep, SettingsDep
from api.errors import Unauthenticated, responses
from api.exposition import OverviewCollector, OverviewReader, registry_of, threads_of
from settings import Settings

router = APIRouter(tags=["health"])


class Exposition(PlainTextResponse):
    media_type = CONTENT_TYPE_LATEST


@router.get("/metrics", response_class=Exposition, responses=responses(401))
async def metrics(request: Request, database: DatabaseDep, settings: SettingsDep) -> Exposition:
    """What there is to watch (docs/operations.md). Answers without the database too. A token is needed where ICS_METRICS_TOKEN is set."""
    _check_token(request, settings)
    state = request.app.state
    if getattr(state, "overview_reader", None) is None:
        state.overview_reader = OverviewReader(database, settings.unclaimed_seconds)
    overview = await state.overview_reader.read()
    inbox = getattr(state, "inbox", None)
    threads = threads_of(inbox, getattr(state, "applier", None))
    text = generate_latest(registry_of(OverviewCollector(overview, threads, inbox)))
    return Exposition(text + generate_latest(state.measurements.registry))


def _check_token(request: Request, settings: Settings) -> None:
    expected = settings.metrics_token.get_secret_value()
    if not expected:
        return
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not compare_digest(given.strip().encode(), expected.encode()):
        raise Unauthenticated
