"""Trees of messages: the branch that was read last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.support.imports import import_beside, turns_of, write_source

from leadline.layouts.branches import active_branch, opened_mapping


def node(name: str, parent: str | None, role: str = "user", time: int = 0) -> dict[str, Any]:
    return {"id": name, "parentId": parent, "role": role, "created_at": time}


TREE = [
    node("a", None, "user", 1), node("b", "a", "assistant", 2), node("b2", "a", "assistant", 3),
    node("c", "b2", "user", 4),
]  # fmt: skip


@given(st.permutations(range(4)))
def test_the_branch_is_one_in_any_order_of_the_file(order: list[int]) -> None:
    messages = [TREE[place] for place in order]
    branch = active_branch(messages)
    assert branch is not None
    assert [messages[place]["id"] for place in branch.places] == ["a", "b2", "c"]
    assert branch.left_out == 1


def test_the_current_message_names_the_branch() -> None:
    branch = active_branch(TREE, "b")
    assert branch is not None
    assert [TREE[place]["id"] for place in branch.places] == ["a", "b"]
    assert branch.left_out == 2


def test_what_follows_the_current_message_is_left_out() -> None:
    messages = [node("a", None), node("b", "a", "assistant"), node("c", "b")]
    branch = active_branch(messages, "b")
    assert branch is not None
    assert (branch.places, branch.left_out) == ([0, 1], 1)


def test_lists_and_threads_are_no_trees() -> None:
    assert active_branch([node("a", None), node("b", "a", "assistant"), node("c", "b")]) is None
    assert active_branch([node("a", None), node("b", "a", "assistant"), node("c", "a")]) is None
    assert active_branch([{"role": "user"}, {"role": "user"}]) is None
    assert active_branch([node("a", None), node("a", None)]) is None


def test_children_make_a_tree_of_edited_beginnings_too() -> None:
    messages = [{"id": "a", "children": [], "created_at": 1},
                {"id": "b", "children": ["c"], "created_at": 2},
                {"id": "c", "children": [], "created_at": 3}]  # fmt: skip
    branch = active_branch(messages)
    assert branch is not None
    assert branch.places == [1, 2]


def test_a_circle_ends() -> None:
    circle = [node("a", "b"), node("b", "a", "assistant"), node("c", "a", "assistant")]
    branch = active_branch(circle)
    assert branch is None or len(branch.places) + branch.left_out == 3


@given(st.permutations(["root", "s", "a", "b", "b2"]))
def test_a_mapping_is_in_order_whatever_the_order_of_its_nodes(order: list[str]) -> None:
    parents = {"root": None, "s": "root", "a": "s", "b": "a", "b2": "a"}
    times = {"a": 1, "b": 2, "b2": 3}
    mapping = {
        name: {"parent": parents[name],
               "message": None if name in ("root", "s") else {"create_time": times[name]}}
        for name in order
    }  # fmt: skip
    messages, current = opened_mapping({"mapping": mapping, "current_node": "b"})
    assert [message["id"] for message in messages] == ["a", "b", "b2"]
    assert [message["parent"] for message in messages] == [None, "a", "a"]
    assert current == "b"


def test_messages_inside_messages_are_not_lost(tmp_path: Path) -> None:
    def message(name: str, above: str, by_user: bool, text: str, *inner: Any) -> dict[str, Any]:
        return {"messageId": name, "parentMessageId": above, "isCreatedByUser": by_user,
                "sender": "User" if by_user else "GPT", "text": text,
                "children": list(inner)}  # fmt: skip

    last = message("4", "3", False, "I see.")
    old = message("2", "1", False, "GIVEN UP")
    again = message("3", "1", False, "why?", last)
    record = {"user": "p", "conversationId": "c", "messages": [
        message("1", "0", True, "low", old, again)]}  # fmt: skip
    cohort = import_beside(write_source(tmp_path, "a.json", record))
    assert [line[3:] for line in turns_of(cohort)] == [
        ("user", "low"), ("assistant", "why?"), ("assistant", "I see."),
    ]  # fmt: skip
    messages = cohort.manifest["import"]["messages"]
    assert (messages["read"], sum(messages["left_out_by_rule"].values())) == (4, 1)
