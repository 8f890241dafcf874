"""The sandbox's own routes: its journal, its outbox and its fault switches. For tests and for people; no provider has them."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from sandbox.faults import Fault, Kind, Provider, Switches
from sandbox.journal import Journal
from sandbox.sendgrid_mail import MailEndpoint


class FaultIn(BaseModel):
    """`count` requests to `provider` get `kind`, each with `probability`."""

    model_config = ConfigDict(extra="forbid")

    provider: Provider
    kind: Kind
    count: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    seconds: Annotated[float, Field(ge=0, le=3600)] = 1.0


def admin_router(journal: Journal, mail: MailEndpoint, switches: Switches) -> APIRouter:
    router = APIRouter(prefix="/sandbox")

    @router.get("/health")
    def health() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/journal")
    def counts(uid: str | None = None) -> dict[str, Any]:
        """What was accepted, of all or of one execution."""
        return journal.counts(uid)

    @router.get("/journal/entries")
    def entries(
        uid: str | None = None, after: int = 0, limit: Annotated[int, Query(ge=1, le=10_000)] = 1000
    ) -> list[dict[str, Any]]:
        return journal.entries(uid, after, limit)

    @router.get("/messages/{reference}")
    def message(reference: str) -> dict[str, str]:
        """What a recipient of one of the last requests got."""
        found = mail.find(reference)
        if found is None:
            raise HTTPException(404, "not among the last requests")
        return found

    @router.get("/outbox")
    def outbox() -> dict[str, int]:
        """Webhooks that are still to be posted, and those that were acknowledged."""
        return journal.outbox_counts()

    @router.post("/faults", status_code=201)
    def set_fault(fault: FaultIn) -> dict[str, int]:
        switches.add(Fault(**fault.model_dump()))
        return switches.fired

    @router.get("/faults")
    def fired() -> dict[str, int]:
        """How often each fault fired."""
        return switches.fired

    @router.delete("/faults")
    def clear_faults() -> dict[str, int]:
        switches.clear()
        return switches.fired

    return router
