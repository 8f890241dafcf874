"""A line of the result."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """So many messages in so many seconds; `more` has what else was measured."""

    name: str
    recipients: int
    seconds: float
    more: Mapping[str, object] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        return self.recipients / self.seconds

    def document(self) -> dict[str, object]:
        """One line of JSON."""
        return {
            "name": self.name,
            "recipients": self.recipients,
            "seconds": round(self.seconds, 2),
            "per_second": round(self.per_second),
            **self.more,
        }
