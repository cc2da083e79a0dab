"""What stands in a log and was never said to the other: which messages they are, by their flags.

Reasoning, calls of tools and their answers, internal notes, drafts, messages that failed, were
deleted or are hidden. The same names serve JSON messages and columns of tables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from leadline.sources.names import normal

REASONING = "reasoning of a model, left out"

TOOLS = "calls of tools and their answers, left out"

NOTES = "internal notes, left out"

DELETED = "deleted or redacted messages, left out"

HIDDEN = "messages that are hidden from the conversation, left out"

UNSENT = "messages that were not delivered (failed, drafts), left out"

EVENTS = "events that are no messages, left out"

NO_TEXT = "messages without text (images, files), left out"

REPEATS = "repeats of a message that is there already, left out"

BRANCHES = "messages of branches that were edited away or regenerated, left out"

FLAGS = {
    **dict.fromkeys(("deleted", "is_deleted", "deleted_at", "deleted_on", "date_deleted",
                     "removed", "is_removed", "redacted", "is_redacted", "redacted_at",
                     "is_unsent", "retracted", "is_retracted"), DELETED),
    **dict.fromkeys(("internal", "is_internal", "private", "is_private", "internal_note", "is_note",
                     "private_note", "note_to_self", "staff_only", "whisper", "is_whisper"), NOTES),
    **dict.fromkeys(("hidden", "is_hidden", "is_visually_hidden", "superseded", "is_superseded",
                     "is_visually_hidden_from_conversation"), HIDDEN),
    **dict.fromkeys(("is_reasoning", "is_thinking", "is_thought", "thought"), REASONING),
    **dict.fromkeys(("failed", "is_failed", "is_draft", "draft", "is_error"), UNSENT),
    **dict.fromkeys(("is_tool", "is_tool_call"), TOOLS),
}  # fmt: skip
"""Names of what is true of a message that was not said."""

SHOWN = {"public": NOTES, "is_public": NOTES, "visible": HIDDEN, "is_visible": HIDDEN,
         "delivered": UNSENT, "is_delivered": UNSENT}  # fmt: skip
"""Names of what is false of a message that was not said."""

KIND_KEYS = ("type", "message_type", "msg_type", "kind", "part_type", "content_type",
             "visibility", "status", "state", "channel", "event_type", "entry_type",
             "delivery_status")  # fmt: skip

KINDS = {
    **dict.fromkeys(("note", "internal", "internal_note", "private_note", "whisper",
                     "comment_internal", "staff_note", "internal_comment", "agent_note"), NOTES),
    **dict.fromkeys(("reasoning", "thinking", "thought", "thoughts", "redacted_thinking",
                     "thought_event", "reasoning_recap", "analysis",
                     "chain_of_thought"), REASONING),
    **dict.fromkeys(("tool", "tool_call", "tool_calls", "tool_use", "tool_result", "function_call",
                     "function_call_output", "function_response", "tool_output", "tool_response",
                     "web_search_call", "file_search_call", "computer_call", "local_shell_call",
                     "computer_call_output", "code_interpreter_call", "image_generation_call",
                     "mcp_call", "mcp_list_tools", "mcp_approval_request", "execution_output",
                     "tool_call_request_event", "tool_call_execution_event",
                     "mcp_approval_response", "local_shell_call_output", "custom_tool_call",
                     "custom_tool_call_output", "code", "commentary", "tether_quote",
                     "tether_browsing_display", "system_error", "function"), TOOLS),
    **dict.fromkeys(("deleted", "redacted", "removed", "retracted", "unsent", "revoked"), DELETED),
    **dict.fromkeys(("hidden", "user_editable_context", "model_editable_context",
                     "superseded"), HIDDEN),
    **dict.fromkeys(("failed", "draft", "undelivered", "error", "not_sent", "cancelled",
                     "canceled"), UNSENT),
    **dict.fromkeys(("event", "channel_join", "channel_leave", "channel_topic", "channel_purpose",
                     "channel_name", "channel_archive", "call", "pinned_message", "typing",
                     "channelpinnedmessage", "guildmemberjoin", "recipientadd", "recipientremove",
                     "threadcreated", "item_reference", "memory_query_event",
                     "user_input_requested_event", "select_speaker_event", "handoff_message",
                     "conversation_update", "end_of_conversation", "stop_message"), EVENTS),
}  # fmt: skip
"""Values of `KIND_KEYS` that mean that a message was not said."""

ONLY = {
    "channel": (REASONING, TOOLS),  # a private channel is no private note
    "status": (DELETED, UNSENT, HIDDEN),
    "state": (DELETED, UNSENT, HIDDEN),
    "delivery_status": (DELETED, UNSENT, HIDDEN),
}
"""Which reasons a key of `KIND_KEYS` can give, where it is not all."""

ROLE_WORDS = {"tool": TOOLS, "function": TOOLS, "ipython": TOOLS, "function_call": TOOLS,
              "function_response": TOOLS, "tool_call": TOOLS, "tool_response": TOOLS,
              "observation": TOOLS, "thought": REASONING, "reasoning": REASONING,
              "thinking": REASONING}  # fmt: skip
"""Speakers who say nothing to the other."""

PLACEHOLDERS = {
    **dict.fromkeys(("[deleted]", "[removed]", "[redacted]", "<deleted>",
                     "this message was deleted",
                     "this message was deleted.", "you deleted this message",
                     "you deleted this message.", "message deleted", "[message deleted]",
                     "deleted message", "<redacted>", "diese nachricht wurde gelöscht.",
                     "se eliminó este mensaje.", "ce message a été supprimé"), DELETED),
    **dict.fromkeys(("<media omitted>", "image omitted", "video omitted", "audio omitted",
                     "sticker omitted", "gif omitted", "document omitted",
                     "<medien ausgeschlossen>",
                     "<multimedia omitido>", "[image]", "[photo]", "[video]", "[audio]",
                     "[sticker]", "[file]"), NO_TEXT),
}  # fmt: skip
"""Whole texts that stand for a message that is not there."""

INLINE = re.compile(
    r"(?is)^\s*<(?P<tag>think|thinking|reasoning|thought)>.*?</(?P=tag)>\s*"
    r"|^\s*<details type=\"reasoning\".*?</details>\s*"
    r"|^(?:(?!<think>).)*</think>\s*"
)
"""Reasoning before the words of a message; the mark that opens it may be part of the prompt."""

INLINE_MARKS = ("</think", "</reasoning>", "</thought>", '<details type="reasoning"')

INLINE_CUT = "messages whose reasoning (<think>) was cut off"


def without_reasoning(text: str) -> str:
    """The words of a message without the reasoning that stands before them.

    >>> without_reasoning("<think>They are low.</think> What happened?")
    'What happened?'
    """
    rest = INLINE.sub("", text)
    while rest != text:
        text, rest = rest, INLINE.sub("", rest)
    return rest


FALSE = ("", "0", "false", "no", "none", "null", "f", "n", "nan")


def is_true(value: Any) -> bool:
    """Whether a flag is set: true, 1, yes, or a time at which it was set."""
    return value is not None and str(value).strip().lower() not in FALSE and value not in ([], {})


def is_false(value: Any) -> bool:
    """Whether a flag is set to no; an absent one is not."""
    return value is not None and str(value).strip().lower() in ("0", "false", "no", "f", "n")


def unsaid(message: Mapping[str, Any], speaker: Any) -> str:
    """Why a message was not said to the other, by its flags and its speaker; "" for a turn."""
    if isinstance(speaker, str) and speaker.lower() in ROLE_WORDS:
        return ROLE_WORDS[speaker.lower()]
    metadata = message.get("metadata")
    content = message.get("content")
    for part in (message, metadata, content):
        why = _by_flags(part) if isinstance(part, Mapping) else ""
        if why:
            return why
    if "redacted_because" in message:  # Matrix
        return DELETED
    relation = content.get("m.relates_to") if isinstance(content, Mapping) else None
    if isinstance(relation, Mapping) and relation.get("rel_type") == "m.replace":
        return REPEATS
    recipient = message.get("recipient")
    if isinstance(recipient, str) and "author" in message and recipient not in ("all", ""):
        return TOOLS
    if message.get("weight") == 0 and "author" in message:
        return HIDDEN
    return ""


def _by_flags(message: Mapping[str, Any]) -> str:
    for key, name in _flag_keys(tuple(message)):
        value = message[key]
        if name in FLAGS and not isinstance(value, list | Mapping) and is_true(value):
            return FLAGS[name]
        if name in SHOWN and is_false(value):
            return SHOWN[name]
        if name in KIND_KEYS and isinstance(value, str):
            why = kind_says(name, value)
            if why:
                return why
    return ""


@lru_cache(maxsize=8192)
def _flag_keys(keys: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Of some keys those that may say that a message was not said, with their plain names."""
    names = {*FLAGS, *SHOWN, *KIND_KEYS}
    return tuple((key, normal(key)) for key in keys if normal(key) in names)


def kind_says(name: str, value: str) -> str:
    """Why a message of a kind was not said; "" if that kind is said.

    Args:
        name: of the key or column, as `names.normal` gives it.
        value: what it holds.
    """
    why = KINDS.get(normal(value), "")
    return why if why in ONLY.get(name, (why,)) else ""


def placeholder(text: Any) -> str:
    """Why a text that stands for a message is none; "" for words."""
    return PLACEHOLDERS.get(text.strip().lower(), "") if isinstance(text, str) else ""
