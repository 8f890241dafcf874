"""Rows of one file that are the same client. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from db.states import Consent
from tasks.imports.cleaning import Row
from tasks.imports.rejects import Reason, Reject, shortened

_CONSENTS = ("email_consent", "sms_consent")


@dataclass(frozen=True)
class Merged:
    """Rows with distinct identities in the order of the file, and a warning for each row that was merged away."""

    rows: list[Row]
    warnings: list[Reject]


def merge_duplicates(rows: Iterable[Row]) -> Merged:
    """Lay later rows of the same `identity_key` over earlier ones, as `upsert_clients` does with stored clients.

    What a later row says wins, what it leaves empty stays; tags are united, custom fields are laid over each other, and
    no row lifts a denial. So it does not matter whether two rows meet here or in the database.
    """
    by_identity: dict[str, Row] = {}
    warnings: list[Reject] = []
    for row in rows:
        earlier = by_identity.get(row["identity_key"])
        if earlier is None:
            by_identity[row["identity_key"]] = row
            continue
        by_identity[row["identity_key"]] = _laid_over(earlier, row)
        warnings.append(_warning(earlier, row))
    return Merged(list(by_identity.values()), warnings)


def _laid_over(earlier: Row, later: Row) -> Row:
    merged = earlier | {name: value for name, value in later.items() if value}
    merged["row_number"] = earlier["row_number"]
    merged["tags"] = list(dict.fromkeys([*(earlier.get("tags") or ()), *(later.get("tags") or ())]))
    merged["custom_fields"] = (earlier.get("custom_fields") or {}) | (later.get("custom_fields") or {})
    for name in _CONSENTS:
        merged[name] = _consent(earlier.get(name), later.get(name))
    return merged


def _consent(earlier: Consent | None, later: Consent | None) -> Consent:
    if earlier is Consent.DENIED or later in (None, Consent.UNKNOWN):
        return earlier or Consent.UNKNOWN
    return later or Consent.UNKNOWN


def _warning(earlier: Row, row: Row) -> Reject:
    message = f"the same client as in row {earlier['row_number']}: merged, and what this row says won"
    return Reject(row["row_number"], "", shortened(row["identity_key"]), Reason.DUPLICATE_IN_FILE, message)
