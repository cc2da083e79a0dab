"""Messages that form a tree: the branch that was read last, and what was edited away.

A log keeps what a person edited and what a model answered again as branches. Only one of them is
the conversation: the one that ends in the current message if the source names it, else the one
whose choices were made last. Threads, in which everybody answers the first message, are no such
tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from leadline.sources.names import normal
from leadline.sources.records import identifier

PARENT_KEYS = ("parent", "parent_id", "parent_message_id", "parent_message_uuid", "parentid")

ID_KEYS = ("id", "message_id", "uuid", "_id", "msg_id")

CHILDREN_KEYS = ("children", "childrenids", "children_ids")


class Branch(NamedTuple):
    """Positions of the messages of a branch in their order, and how many were left out."""

    places: list[int]
    left_out: int


def active_branch(messages: Sequence[Any], current: str | None = None) -> Branch | None:
    """The branch of a list of messages that was read last; None if the list is no tree.

    Args:
        messages: objects with an id and a parent, or with children.
        current: id of the last message of the branch, if the source names it.
    """
    identifiers, parents, explicit = _links(messages)
    if len(identifiers) < len(messages) or not (explicit or any(parents.values())):
        return None
    children: dict[str, list[str]] = {}
    for name, parent in parents.items():
        children.setdefault(parent, []).append(name)
    if current is None or current not in identifiers:
        siblings = [names for parent, names in children.items() if parent and len(names) > 1]
        if not siblings and not (explicit and len(children.get("", [])) > 1):
            return None
        if not explicit and any(_is_thread(s, identifiers, messages) for s in siblings):
            return None
        current = _last_leaf(children, identifiers, messages)
    leaf = current
    path: dict[str, None] = {}  # in order, and quick to look in: a chain may be a whole file
    above = leaf
    while above in identifiers and above not in path:
        path[above] = None
        above = parents[above]
    places = [identifiers[name] for name in reversed(path)]
    return Branch(places, len(messages) - len(places))


def unnested(messages: Sequence[Any]) -> list[Any]:
    """Messages with those that lie inside their ``children`` behind them (LibreChat), at any depth.

    Messages whose children are identifiers, or that have none, stay as they are.
    """
    flat: list[Any] = []
    waiting = list(reversed(messages))
    while waiting:
        message = waiting.pop()
        inner: list[Any] = []
        if isinstance(message, Mapping):
            keys = [key for key in message if normal(key) == "children"]
            inner = [entry for key in keys if isinstance(message[key], list)
                     for entry in message[key] if isinstance(entry, Mapping)]  # fmt: skip
            if inner:
                message = {key: value for key, value in message.items() if key not in keys}
        flat.append(message)
        waiting += reversed(inner)
    return flat


def _links(messages: Sequence[Any]) -> tuple[dict[str, int], dict[str, str], bool]:
    """Id -> position, id -> parent ("" for a root), and whether children are listed."""
    identifiers: dict[str, int] = {}
    parents: dict[str, str] = {}
    listed: dict[str, str] = {}
    explicit = False
    for place, message in enumerate(messages):
        if not isinstance(message, Mapping):
            return {}, {}, False
        fields = {normal(key): value for key, value in message.items()}
        name = next(
            (text for key in ID_KEYS if (text := identifier(fields.get(key.strip("_"))))), None
        )
        if name is None or name in identifiers:
            return {}, {}, False
        identifiers[name] = place
        parent = next((text for key in PARENT_KEYS if (text := identifier(fields.get(key)))), "")
        ancestors = fields.get("ancestors")
        if not parent and isinstance(ancestors, list) and ancestors:
            parent = identifier(ancestors[-1]) or ""
        parents[name] = parent
        for key in CHILDREN_KEYS:
            inner = fields.get(key)
            if isinstance(inner, list):
                explicit = True
                listed |= {child: name for entry in inner if (child := identifier(entry))}
    for name, parent in parents.items():
        parents[name] = parent or listed.get(name, "")
        if parents[name] not in identifiers:
            parents[name] = ""
    return identifiers, parents, explicit


def _is_thread(names: list[str], identifiers: dict[str, int], messages: Sequence[Any]) -> bool:
    """Whether siblings are several speakers who answer one message, not one answer given twice."""
    speakers = set()
    for name in names:
        message = messages[identifiers[name]]
        fields = {normal(key): value for key, value in message.items()}
        speaker = next((fields[key] for key in ("role", "speaker", "sender", "author", "from")
                        if isinstance(fields.get(key), str)), None)  # fmt: skip
        speakers.add(speaker)
    return len(speakers) > 1


def _last_leaf(
    children: Mapping[str, list[str]], identifiers: Mapping[str, int], messages: Sequence[Any]
) -> str:
    """The leaf that was written last: by time if all have one, else the last of the file."""
    leaves = [name for name in identifiers if not children.get(name)]
    return max(leaves, key=lambda name: (_time(messages[identifiers[name]]), identifiers[name]))


def _time(message: Mapping[str, Any]) -> str:
    fields = {normal(key): value for key, value in message.items()}
    for key in ("created_at", "create_time", "timestamp", "created_date", "time", "date"):
        value = fields.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return f"{value:024.6f}"
        if isinstance(value, str) and value:
            return value
    return ""


def opened_mapping(record: Mapping[str, Any]) -> tuple[list[Any], str | None]:
    """The messages of ChatGPT's ``mapping`` with their parents, and the current message.

    Nodes without a message are left out; their children hang on the next message above them.
    """
    nodes = {str(name): node for name, node in record["mapping"].items()
             if isinstance(node, Mapping)}  # fmt: skip
    messages: list[Any] = []
    above: dict[str, str | None] = {}
    for name, node in nodes.items():
        message = node.get("message")
        if isinstance(message, Mapping):
            parent = _message_above(nodes, node, above)
            messages.append({**message, "id": name, "parent": parent, "children": []})
    current = identifier(record.get("current_node"))
    if current in nodes and not isinstance(nodes[current].get("message"), Mapping):
        current = _message_above(nodes, nodes[current], above)
    return _in_order(messages), current


def _message_above(
    nodes: Mapping[str, Any], node: Mapping[str, Any], above: dict[str, str | None]
) -> str | None:
    """The next message above a node; `above` has that of nodes without one that were passed."""
    passed: list[str] = []
    message = None
    for _ in range(len(nodes)):
        parent = node.get("parent")
        if parent is None or str(parent) not in nodes:
            break
        name = str(parent)
        node = nodes[name]
        if isinstance(node.get("message"), Mapping) or name in above:
            message = above.get(name, name)
            break
        passed.append(name)
    above.update(dict.fromkeys(passed, message))
    return message


def _in_order(messages: list[Any]) -> list[Any]:
    """Messages with every parent before its children, whatever the order of the nodes."""
    by_parent: dict[str | None, list[Any]] = {}
    for message in messages:
        by_parent.setdefault(message["parent"], []).append(message)
    ordered: list[Any] = []
    waiting = sorted(by_parent.get(None, []), key=_time)[::-1]
    while waiting:
        message = waiting.pop()
        ordered.append(message)
        waiting += sorted(by_parent.pop(message["id"], []), key=_time)[::-1]
    return ordered if len(ordered) == len(messages) else messages
