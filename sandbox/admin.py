"""The sandbox's own routes: its journal, its outbox and its fault switches. For tests and for people; no provider has them."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from sandbox.faults import Fault, Kind, Provider, Switches
from sandbox.journal import Journal
from sandbox.recent import RecentMessages

Limit = Annotated[int, Query(ge=1, le=10_000)]


class FaultIn(BaseModel):
    """`count` requests to `provider` get `kind`, each with `probability`; `seconds` is for latency, hang,
    slow_drip and 429."""

    model_config = ConfigDict(extra="forbid")

    provider: Provider
    kind: Kind
    count: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    seconds: Annotated[float, Field(ge=0, le=3600)] = 1.0


def admin_router(journal: Journal, recent: RecentMessages, switches: Switches) -> APIRouter:
    router = APIRouter(prefix="/sandbox")
    _add_journal(router, journal, recent)
    _add_faults(router, switches)
    return router


def _add_journal(router: APIRouter, journal: Journal, recent: RecentMessages) -> None:

    @router.get("/health")
    def health() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/journal")
    def counts(uid: str | None = None) -> dict[str, Any]:
        """What was accepted, of all or of one execution."""
        return journal.counts(uid)

    @router.get("/journal/entries")
    def entries(uid: str | None = None, after: int = 0, limit: Limit = 1000) -> list[dict[str, Any]]:
        """Accepted recipients in order; `after` is the id of the last one seen."""
        return journal.entries(uid, after, limit)

    @router.get("/journal/duplicates")
    def duplicates(uid: str | None = None, limit: Limit = 1000) -> dict[str, int]:
        """References that were accepted more than once, and how often. There should be none."""
        return journal.duplicates(uid, limit)

    @router.get("/messages/{reference}")
    def message(reference: str) -> dict[str, str]:
        """What a recipient got; the last messages only, since the start."""
        found = recent.find(reference)
        if found is None:
            raise HTTPException(404, "not among the last messages")
        return found

    @router.get("/outbox")
    def outbox() -> dict[str, int]:
        """Events that are still to be posted, and those that were acknowledged."""
        return journal.outbox_counts()


def _add_faults(router: APIRouter, switches: Switches) -> None:
    @router.post("/faults", status_code=201)
    def set_fault(fault: FaultIn) -> dict[str, int]:
        """Set one more fault; answers how often each has fired."""
        switches.add(Fault(**fault.model_dump()))
        return switches.fired

    @router.get("/faults")
    def faults() -> dict[str, Any]:
        """Faults that wait for requests, and how often each fired."""
        return {"waiting": [asdict(fault) for fault in switches.waiting()], "fired": switches.fired}

    @router.delete("/faults")
    def clear_faults() -> dict[str, int]:
        """Proper answers from now on."""
        switches.clear()
        return switches.fired
