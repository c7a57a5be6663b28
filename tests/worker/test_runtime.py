"""The device that was asked for and no other; weights checked before they answer."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from db.errors import Misconfigured
from models import registry
from worker.runtime import Runtime, choose_device, footprint, set_threads

ABSENT = f"cuda:{torch.cuda.device_count()}"  # one more than there are


def test_an_absent_cuda_device_is_refused_and_never_replaced() -> None:
    with pytest.raises(Misconfigured, match="is not there"):
        choose_device(ABSENT)


@pytest.mark.parametrize("wanted", ["gpu", "CPU", "", "tpu:0", "cuda:", "cuda:x", "cuda:-1"])
def test_a_device_that_is_none_is_refused(wanted: str) -> None:
    with pytest.raises(Misconfigured):
        choose_device(wanted)


def test_auto_takes_cuda_where_there_is_one_else_the_cpu() -> None:
    assert choose_device("auto") == ("cuda:0" if torch.cuda.is_available() else "cpu")


def test_the_cpu_can_be_asked_for() -> None:
    assert choose_device("cpu") == "cpu"


def test_threads_are_as_many_as_asked_for() -> None:
    before = torch.get_num_threads()
    assert (set_threads(1), torch.get_num_threads()) == (1, 1)
    torch.set_num_threads(before)


def test_a_model_with_swapped_weights_is_refused_by_its_file_and_the_others_load(tmp_path: Path) -> None:
    card = registry.card("note-assertion")
    for weights in card.weights:
        (tmp_path / weights.file).write_bytes(b"swapped")
    with pytest.raises(Misconfigured, match=card.weights[0].file):
        card.model_copy(update={"folder": tmp_path}).verify()


def test_a_half_copied_weights_file_is_refused(tmp_path: Path) -> None:
    card = registry.card("note-assertion")
    for weights in card.weights:
        data = (card.folder / weights.file).read_bytes()
        (tmp_path / weights.file).write_bytes(data[: len(data) // 2])
        assert hashlib.sha256(data).hexdigest() == weights.sha256
    with pytest.raises(Misconfigured, match="sha256"):
        card.model_copy(update={"folder": tmp_path}).verify()


def test_a_refused_model_s_jobs_are_told_why() -> None:
    runtime = Runtime("cpu")
    runtime.refused["film"] = "film: films.safetensors is missing; restore it from the release"
    with pytest.raises(Misconfigured, match="is missing"):
        runtime.model("film", "1", "a")


def test_beyond_the_budget_the_least_lately_used_model_is_closed_and_opened_again() -> None:
    cards = [registry.card(name) for name in ("note-assertion", "note-diagnosis")]
    runtime = Runtime("cpu", memory=footprint(cards[1]))
    runtime.load(cards)
    assert list(runtime.models) == ["note-diagnosis"]
    first = runtime.model("note-assertion", cards[0].version, cards[0].weights_sha256)
    assert (first.card.name, list(runtime.models)) == ("note-assertion", ["note-assertion"])


def test_within_the_budget_all_stay_open() -> None:
    cards = [registry.card(name) for name in ("note-assertion", "note-diagnosis")]
    runtime = Runtime("cpu", memory=sum(map(footprint, cards)))
    runtime.load(cards, threads=2)
    assert (sorted(runtime.models), runtime.refused) == (["note-assertion", "note-diagnosis"], {})


def test_loading_says_how_far_it_is() -> None:
    runtime = Runtime("cpu")
    before = runtime.progress
    runtime.load([registry.card("note-diagnosis")])
    assert (before, runtime.progress) == ("starting", "warming 1/1")


def test_what_its_lanes_do_not_ask_for_is_opened_when_a_job_does() -> None:
    first, later = (registry.card(name) for name in ("note-diagnosis", "note-assertion"))
    runtime = Runtime("cpu")
    runtime.load([first], later=[later])
    assert list(runtime.models) == ["note-diagnosis"]
    assert runtime.held == {card.name: card.weights_sha256 for card in (first, later)}
    assert runtime.model(later.name, later.version, later.weights_sha256).card == later
