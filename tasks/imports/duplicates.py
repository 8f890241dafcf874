"""Rows of one file that are the same client. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from db.overlay import lay_over
from db.states import ImportPolicy
from tasks.imports.cleaning import Row
from tasks.imports.rejects import Reason, Reject, shortened

_EFFECT = {
    ImportPolicy.UPDATE: "merged, and what this row says won",
    ImportPolicy.FILL: "merged, and this row filled what was empty",
    ImportPolicy.SKIP: "left out, as clients that are there already are",
}


@dataclass(frozen=True)
class Merged:
    """Rows with distinct identities in the order of the file, and a warning for each row that was merged away."""

    rows: list[Row]
    warnings: list[Reject]


def merge_duplicates(rows: Sequence[Row], policy: ImportPolicy = ImportPolicy.UPDATE) -> Merged:
    """Lay later rows of the same `identity_key` over earlier ones, as an import of this policy does with stored clients.

    So it does not matter whether two rows meet here or in the database.
    """
    if len({row["identity_key"] for row in rows}) == len(rows):
        return Merged(list(rows), [])
    by_identity: dict[str, Row] = {}
    warnings: list[Reject] = []
    for row in rows:
        key = row["identity_key"]
        earlier = by_identity.get(key)
        if earlier is None:
            by_identity[key] = row
            continue
        by_identity[key] = earlier | lay_over(earlier, row, policy)
        warnings.append(_warning(row, f"the same client as in row {earlier['row_number']}", policy))
    return Merged(list(by_identity.values()), warnings)


def repeated_row(row: Row, policy: ImportPolicy) -> Reject:
    """The warning about a row whose client an earlier chunk had."""
    return _warning(row, "the same client as in an earlier row", policy)


def _warning(row: Row, what: str, policy: ImportPolicy) -> Reject:
    message = f"{what}: {_EFFECT[policy]}"
    return Reject(row["row_number"], "", shortened(row["identity_key"]), Reason.DUPLICATE_IN_FILE, message)
