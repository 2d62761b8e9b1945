"""Messages there and back, and a decoder that no stream of bytes upsets."""

from __future__ import annotations

import dataclasses
import json

import pytest
from DeepLargeDeformRegLib.worker import protocol
from DeepLargeDeformRegLib.worker.failures import failure
from DeepLargeDeformRegLib.worker.protocol import Decoder, Garbage, Message, ProtocolError, Request
from hypothesis import given, settings
from hypothesis import strategies as st

DEVICE = {"name": "cuda:0", "description": "Some GPU", "free_bytes": 10}
MESSAGES = [
    protocol.Request("1", "register", {"fixed": "/tmp/größe 肝/fixed.nrrd", "settings": {"a": [1, None]}}, "/tmp/x"),
    protocol.Cancel("1"),
    protocol.Shutdown(),
    protocol.Hello(protocol=1, library="0.1.0", python="3.12.1", process=77, kinds=["register"]),
    protocol.EngineReady("2.13.0", [DEVICE], ["liver-ct"]),
    protocol.Accepted("1"),
    protocol.Progress(job="1", stage="refine", fraction=0.25, message="Schritt 3 — 肝", eta_seconds=12.5),
    protocol.Progress(job="1", stage="read", fraction=0, message="", eta_seconds=None),
    protocol.Result("1", {"dice": {"liver": {"before": 0.5, "after": 0.9}}}, {"output_volume": "/tmp/x/w.nrrd"}),
    protocol.Failure(job=None, kind="engine_broken", message="No torch.", detail="detail", subject="fixed scan"),
    protocol.Cancelling("1"),
    protocol.Cancelled("1"),
    protocol.Heartbeat(3, None),
    protocol.Released(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.tag)
def test_there_and_back(message: Message) -> None:
    line = message.encode()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert Message.from_json(json.loads(line)) == message
    assert Decoder().feed(line) == [message]


def test_every_message_is_tried() -> None:
    assert {message.tag for message in MESSAGES} == set(Message._types) - {""}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.tag)
def test_missing_unknown_and_wrong_fields_are_refused(message: Message) -> None:
    good = message.to_json()
    for item in dataclasses.fields(message):
        with pytest.raises(ProtocolError):
            Message.from_json({key: value for key, value in good.items() if key != item.name})
        with pytest.raises(ProtocolError, match=item.name):
            Message.from_json(good | {item.name: object()})
    with pytest.raises(ProtocolError):
        Message.from_json(good | {"more": 1})


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"type": "dance"},
        {"type": ["hello"]},
        protocol.Progress(job="1", stage="a", fraction=0.5).to_json() | {"fraction": 1.5},
        protocol.Progress(job="1", stage="a", fraction=0.5).to_json() | {"fraction": True},
        protocol.Progress(job="1", stage="a", fraction=0.5).to_json() | {"eta_seconds": -1},
        protocol.Heartbeat(1).to_json() | {"count": -1},
        protocol.Result("1", {}).to_json() | {"files": {"a": 1}},
        protocol.EngineReady("2", [], []).to_json() | {"devices": [{"name": "cpu"}]},
    ],
)
def test_wrong_values_are_refused(value: object) -> None:
    with pytest.raises(ProtocolError):
        Message.from_json(value)


@given(st.lists(st.integers(1, 400), max_size=60), st.binary(max_size=80))
@settings(deadline=None, max_examples=60)
def test_any_cut_and_any_rubbish_between(sizes: list[int], rubbish: bytes) -> None:
    """Also cuts within a character, and raw UTF-8 as another program would write it."""
    rubbish = rubbish.replace(b"\n", b"")
    raw = json.dumps(MESSAGES[6].to_json(), ensure_ascii=False).encode() + b"\r\n"
    stream = b"".join(message.encode() + rubbish + b"\n" + raw for message in MESSAGES)
    decoder, found, position = Decoder(), [], 0
    for size in [*sizes, len(stream)]:
        found += decoder.feed(stream[position : position + size])
        position += size
    messages = [item for item in found if isinstance(item, Message)]
    assert messages == [item for message in MESSAGES for item in (message, MESSAGES[6])]
    assert decoder.close() == []


def test_a_truncated_message_is_told_at_the_end() -> None:
    decoder = Decoder()
    assert decoder.feed(MESSAGES[0].encode()[:-10]) == []
    assert [item.reason for item in decoder.close()] == ["the stream ended within a line"]
    assert decoder.feed(MESSAGES[1].encode()) == [MESSAGES[1]]


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    decoder = Decoder(maximum_line_bytes=1000)
    for _ in range(100):
        assert decoder.feed(b"x" * 500) == []
    assert sum(len(piece) for piece in decoder._pieces) <= 1000
    found = decoder.feed(b"\n" + MESSAGES[1].encode())
    assert isinstance(found[0], Garbage)
    assert found[1] == MESSAGES[1]


def test_numbers_outside_json_are_not_read_and_not_written() -> None:
    assert isinstance(Decoder().feed(b'{"type":"heartbeat","count":NaN,"job":null}\n')[0], Garbage)
    assert b'"a":null' in protocol.Result("1", {"a": float("inf")}).encode()


def test_deep_nesting_is_rubbish_and_no_crash() -> None:
    assert isinstance(Decoder().feed(b"[" * 200_000 + b"\n")[0], Garbage)


def test_payload_nested_deep_is_answered_without_names() -> None:
    """The failure of a job whose payload is nested 600 deep: its texts are found, and the worker lives on."""
    payload: object = "/home/jane/scan.nrrd"
    for _ in range(600):
        payload = [payload]
    request = Request("1", "register", {"fixed": payload})
    answer = failure(request, ValueError("/home/jane/scan.nrrd is broken"))
    assert "jane" not in answer.detail
