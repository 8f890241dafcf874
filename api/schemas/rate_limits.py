"""Rate limits as they travel."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, model_validator

from api.schemas.base import Input, Output

Rate = Annotated[float, Field(gt=0, le=1_000_000, examples=[100.0], allow_inf_nan=False, strict=True)]


class RateLimitIn(Input):
    """Requests and messages a second; null is no limit. An email request carries up to 1,000 messages."""

    requests_per_second: Rate | None = None
    messages_per_second: Rate | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.requests_per_second is None and self.messages_per_second is None:
            raise ValueError("give requests_per_second, messages_per_second or both; DELETE ends a limit")
        return self


class RateLimitOut(Output):
    """A limit. `held_until` is when the provider wants to be asked again, if it said so (429)."""

    name: str
    requests_per_second: float | None
    messages_per_second: float | None
    held_until: datetime | None
    updated_at: datetime
