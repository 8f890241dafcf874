"""What a template may read of a client. Pure."""

from collections.abc import Mapping
from typing import Any

from tasks.templates.liquid import CLIENT_FIELDS


def client_context(client: Mapping[str, Any], unsubscribe_url: str = "") -> dict[str, Any]:
    """The variables of one recipient.

    `client` has the columns of the clients table: first_name, ..., tags (list), custom_fields (dict).
    """
    values = {name: client.get(name) or "" for name in CLIENT_FIELDS if name != "custom"}
    values["tags"] = client.get("tags") or []
    values["custom"] = client.get("custom_fields") or {}
    return {"client": values, "unsubscribe_url": unsubscribe_url}


def client_fields(paths: frozenset[str]) -> frozenset[str]:
    """The columns of the clients table that templates with these variables read; all of them where one reads
    a field whose name is computed."""
    names = {path.split(".")[1] if "." in path else "" for path in paths if path.split(".")[0] == "client"}
    wanted = set(CLIENT_FIELDS) if "" in names else names
    return frozenset("custom_fields" if name == "custom" else name for name in wanted)


def missing_variables(paths: frozenset[str], context: Mapping[str, Any]) -> frozenset[str]:
    """Those of the dotted paths that are empty for this recipient."""
    return frozenset(path for path in paths if _look_up(path, context) in (None, "", [], {}))


def _look_up(path: str, context: Mapping[str, Any]) -> Any:
    value: Any = context
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value
