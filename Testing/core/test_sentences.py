"""Sentences are English text for all who know no better, and keep what they were made of for those who translate."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from DeepLargeDeformRegLib.core.errors import BadInputError, reading
from DeepLargeDeformRegLib.core.metrics import Metrics, Reason, Verdict
from DeepLargeDeformRegLib.core.sentences import Sentence, as_json, counted, from_json, is_sentence, joined
from DeepLargeDeformRegLib.core.sentences import marked as _
from DeepLargeDeformRegLib.worker import protocol


def sentence() -> Sentence:
    return _("{file} moves by {distance:.1f} mm; {advice}.").format(
        file="a\x1b[31m.nrrd", distance=2.345, advice=_("look {where}").format(where="there")
    )


def parts(text: str) -> object:
    """All that a sentence is made of, however deep."""
    if not isinstance(text, Sentence):
        return text
    return str(text), text.template, text.context, {name: parts(value) for name, value in text.values.items()}


def test_it_is_its_english_text() -> None:
    assert sentence() == "a [31m.nrrd moves by 2.3 mm; look there."
    assert f"{sentence()}" == str(sentence()) == json.loads(json.dumps(sentence()))


def test_it_knows_the_context_that_slicer_gives_its_file() -> None:
    assert sentence().context == "core.test_sentences"
    assert sentence().values["distance"] == "2.3"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_know_it_too(copied: object) -> None:
    assert parts(copied(sentence())) == parts(sentence())  # type: ignore[operator]


def test_it_goes_through_json() -> None:
    assert parts(from_json(json.loads(json.dumps(as_json(sentence()))))) == parts(sentence())
    assert from_json(as_json("liver")) == "liver"


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        {},
        {"text": "a"},
        sentence().to_json() | {"values": {"file": 3}},
        sentence().to_json() | {"context": None},
    ],
)
def test_what_is_no_sentence_is_refused(value: object) -> None:
    assert not is_sentence(value)
    assert from_json(value) == ""


def test_a_template_of_another_process_is_text_and_no_program() -> None:
    """Its places are replaced; nothing is looked up or formatted, so that no width of 10^9 fills the memory."""
    sent = sentence().to_json() | {"template": "{file.__class__} {file:>999999999} {other}"}
    made = from_json(sent)
    assert isinstance(made, Sentence)
    assert made.with_values({"file": "x"}) == "{file.__class__} x {other}"


@pytest.mark.parametrize("values", [{}, {"name": 1}, {"count": 1, "name": 2}])
def test_places_and_values_must_fit(values: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="count"):
        _("{count} files").format(**values)


def test_parts_stay_sentences_when_they_are_joined_or_counted() -> None:
    both = joined(" and ", [_("outlines"), "liver"])
    assert (both, both.context) == ("outlines and liver", "")
    assert isinstance(both.values["part0"], Sentence)
    assert [counted(number, _("1 pair"), _("{number} pairs")) for number in (0, 1, 2)] == [
        "0 pairs",
        "1 pair",
        "2 pairs",
    ]


def test_an_error_speaks_of_the_scan_in_the_place_of_its_file() -> None:
    text = _("{name} is damaged; export it again, {reason}.").format(
        name="fixed.nrrd", reason=_("or {file} alone").format(file="fixed.nrrd")
    )
    with pytest.raises(BadInputError) as caught, reading("scan", "fixed.nrrd", "fixed"):
        raise BadInputError(text)
    assert caught.value.message == text
    said = caught.value.message_without_file
    assert said == "The fixed scan is damaged; export it again, or the fixed scan alone."
    assert isinstance(said, Sentence)
    assert said.template == text.template


def test_the_worker_sends_them() -> None:
    sent = protocol.Failure(job="1", kind="bad_input", message=sentence())
    (received,) = protocol.Decoder().feed(sent.encode())
    assert received == sent
    assert parts(received.message) == parts(sentence())  # type: ignore[union-attr]


def test_metrics_keep_them_beside_the_english_text() -> None:
    reasons = (Reason(text=sentence(), severity="look"), Reason(text="As it was said.", severity="look"))
    metrics = Metrics(verdict=Verdict(level="look", reasons=reasons), warnings=(sentence(), "Careful."))
    values = json.loads(json.dumps(metrics.to_json()))
    assert values["warnings"] == [str(sentence()), "Careful."]
    assert values["verdict"]["reasons"][0]["text"] == str(sentence())
    read = Metrics.from_json(values)
    assert read == metrics
    assert parts(read.warnings[0]) == parts(sentence())
    assert read.verdict is not None
    assert parts(read.verdict.reasons[0].text) == parts(sentence())
