"""What happens to a send whose moment has come, or has passed unnoticed. Pure."""

from datetime import datetime, timedelta
from enum import StrEnum

from db.states import MissedPolicy


class Decision(StrEnum):
    SEND = "send"
    SKIP = "skip"
    ASK = "ask"


def decide(due_at: datetime, now: datetime, *, grace_seconds: int, policy: MissedPolicy) -> Decision:
    """Within the grace a send is on time; later than that it was missed, and the flow's policy decides."""
    if now - due_at <= timedelta(seconds=grace_seconds):
        return Decision.SEND
    return Decision(policy.value)
