"""Sharing on the hub, with the hub replaced by a folder."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lalora
from folder_hub import FolderHub
from lalora import LaloraError, Laplace
from lalora.adapter import base_name, base_revision
from lalora.laplace import _hub, laplace_folder
from tiny import batches, llama, lora, rows, shake

SOURCE = {"arc": batches(rows(4), 2)}


def of_base(**options: Any) -> Laplace:
    settings = {"curvature": "weight-kfac", "target_modules": "all-linear", "progress": False, **options}
    return lalora.fit(llama(), SOURCE, **settings)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the folders of the hub are."""
    return FolderHub.instead(monkeypatch, tmp_path / "hub")


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def code_of(card: str) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    return str(code)


def test_push_and_pull(published: Path) -> None:
    model = lora()
    laplace = lalora.fit(model, SOURCE, progress=False)
    assert laplace.push_to_hub("me/laplace", licence="apache-2.0", private=True) == "hub://me/laplace"
    shake(model)
    assert torch.equal(Laplace.from_hub("me/laplace").penalty(model), laplace.penalty(model))
    card = card_of(published / "me" / "laplace")
    for part in ("license: apache-2.0", "| arc | 4 |", "## Size", "## Provenance", "## Licence", "## Privacy"):
        assert part in card


@pytest.mark.parametrize("kind", ["diagonal", "kfac", "weight-kfac"])
def test_the_code_in_the_card_runs(kind: str, published: Path) -> None:
    model = lora()
    laplace = lalora.fit(model, SOURCE, curvature=kind, progress=False)
    laplace.push_to_hub("me/laplace")
    here: dict[str, Any] = {"model": model, "loss": torch.tensor(2.0)}
    code = code_of(card_of(published / "me" / "laplace"))
    exec(code, here)  # it is ours
    assert float(here["loss"].detach()) == 2.0
    shake(model)
    exec(code.splitlines()[-1], here)
    assert float(here["loss"].detach()) == pytest.approx(2 + float(laplace.penalty(model).detach()))


def test_the_code_in_the_card_of_a_base_model_runs(published: Path) -> None:
    of_base().push_to_hub("me/curvature", max_share=10)
    model = lora()
    here: dict[str, Any] = {"model": model, "loss": torch.tensor(0.0)}
    code = code_of(card_of(published / "me" / "curvature"))
    assert "restore_mean" not in code
    exec(code, here)
    shake(model)
    exec(code.splitlines()[-1], here)
    assert float(here["loss"].detach()) > 0


def test_a_base_models_file_is_a_part_of_its_weights(published: Path) -> None:
    laplace = of_base()
    weights = 2 * sum(one.weight.numel() for one in llama().model.layers.modules() if isinstance(one, nn.Linear))
    assert laplace.size().weights == weights
    whole = laplace.size(torch.bfloat16)
    assert whole.share > 0.6
    laplace.push_to_hub("me/curvature", max_share=0.6)
    there = Laplace.from_hub("me/curvature")
    size = there.size()
    assert 0.3 < size.share <= 0.6
    assert size.ranks is not None
    assert size.ranks[1] < max(whole.ranks or ())
    assert 0 < size.averaged < size.worst < 1
    assert f"{size}." in card_of(published / "me" / "curvature")
    # One eigenvector more a factor does not fit.
    assert laplace.truncated(size.ranks[1] + 1).size(torch.bfloat16).share > 0.6
    file = next((published / "me" / "curvature").glob("*.safetensors"))
    header = int.from_bytes(file.read_bytes()[:8], "little") + 8
    assert file.stat().st_size - header == size.nbytes


def test_what_is_averaged_is_the_share_of_the_trace() -> None:
    whole, part = of_base(), of_base(factor_rank=2)
    cut = whole.truncated(2)
    assert cut.averaged == pytest.approx(part.averaged)
    shares = []
    for factors in (whole.curvature.factors.inputs, whole.curvature.factors.outputs):  # type: ignore[attr-defined]
        shares += [float(one.values[2:].sum() / one.values.sum()) for one in factors.values()]
    size = cut.size()
    assert size.averaged == pytest.approx(sum(shares) / len(shares), rel=1e-4)
    assert size.worst == pytest.approx(max(shares), rel=1e-4)
    assert f"{size.averaged:.1%} of its trace on average" in repr(cut)
    assert len(repr(cut).splitlines()) == 2


@pytest.mark.parametrize(
    ("averaged", "told"),
    [(0, ""), (0.01, ".* off by about 1%"), (0.238, ".* off by about 4%"), (0.4, ".* off by about 7%"),
     (0.9, ".* off by over 8%")],
)  # fmt: skip
def test_what_truncation_costs_is_said_as_it_was_measured(averaged: float, told: str) -> None:
    assert re.match(told, replace(of_base().size(), averaged=averaged).cost)
    assert bool(replace(of_base().size(), averaged=averaged).cost) == bool(told)


def test_the_default_is_fifteen_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    laplace = lalora.fit(
        llama(hidden_size=128, intermediate_size=256), SOURCE, curvature="weight-kfac", target_modules="all-linear",
        progress=False,
    )  # fmt: skip
    assert laplace.size(torch.bfloat16).share > 0.15
    assert 0.05 < laplace.for_publishing().size(torch.bfloat16).share <= 0.15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_model": "./mine"}, r"base_model must be an id on the Hugging Face hub, user/name, not '\./mine'"),
        ({"max_share": 0}, "max_share must be a number above 0, not 0"),
        ({"max_share": float("nan")}, "max_share must be a number above 0, not nan"),
        ({"max_share": 1e-6}, "with one eigenvector a factor it takes .* allow a larger share"),
    ],
)
def test_what_cannot_be_published(options: dict[str, Any], message: str, published: Path) -> None:
    with pytest.raises(LaloraError, match=message):
        of_base().push_to_hub("me/curvature", **options)
    assert not published.exists()


def test_where_one_eigenvector_is_too_large_by_default_one_is_kept(published: Path) -> None:
    of_base().push_to_hub("me/curvature")
    assert Laplace.from_hub("me/curvature").size().ranks == (1, 1)


def test_a_diagonal_has_nothing_to_leave_out(published: Path) -> None:
    laplace = lalora.fit(lora(), SOURCE, curvature="diagonal", progress=False)
    with pytest.raises(LaloraError, match="a curvature of kind 'diagonal' has no eigenvectors to leave out"):
        laplace.push_to_hub("me/laplace", max_share=0.1)
    with pytest.raises(LaloraError, match="give one of factor_rank and max_share"):
        laplace.truncated()


@pytest.mark.parametrize(
    ("place", "id_", "revision"),
    [
        ("someone/model", "someone/model", None),
        ("/cache/models--someone--model/snapshots/0a1b", "someone/model", "0a1b"),
        ("/home/me/secret/model", "model", None),
    ],
)
def test_a_base_model_is_named_without_its_place(
    place: str, id_: str, revision: str | None, published: Path, tmp_path: Path
) -> None:
    base = llama()
    base.config._name_or_path = place
    assert (base_name(base), base_revision(base)) == (id_, revision)
    laplace = lalora.fit(base, SOURCE, curvature="weight-kfac", target_modules="all-linear", progress=False)
    laplace.push_to_hub("me/curvature")
    card = card_of(published / "me" / "curvature")
    assert ("base_model: someone/model" in card) == ("/" in id_)
    assert ("lalora train someone/model" in card) == ("/" in id_)
    assert (f"at commit `{revision}`" in card) == (revision is not None)
    text = card + (published / "me" / "curvature" / "laplace.json").read_text()
    assert "secret" not in text
    assert "cache" not in text
    with pytest.raises(LaloraError, match=f"fitted on base model '{id_}', and the model here is another"):
        Laplace.from_hub("me/curvature").check(lora(seed=5))


def test_a_base_model_can_be_named(published: Path) -> None:
    base = llama()
    base.config._name_or_path = "/home/me/model"
    laplace = lalora.fit(base, SOURCE, curvature="weight-kfac", target_modules="all-linear", progress=False)
    laplace.push_to_hub("me/curvature", base_model="someone/model")
    assert "base_model: someone/model" in card_of(published / "me" / "curvature")
    assert "license" not in card_of(published / "me" / "curvature")
    assert Laplace.from_hub("me/curvature").provenance.base_model == "someone/model"
    assert laplace.provenance.base_model == "model"


def test_a_file_without_a_revision_is_read(tmp_path: Path) -> None:
    from lalora.laplace import _storage

    of_base().save(tmp_path)
    tensors, body = _storage.read(tmp_path)
    del body["provenance"]["base_revision"]
    description = {key: body[key] for key in ("shapes", "kind", "prior", "provenance")}
    _storage.write(tmp_path, tensors, description)
    assert "base_revision" not in json.loads((tmp_path / "laplace.json").read_text())["provenance"]
    assert Laplace.load(tmp_path).provenance.base_revision is None


def test_load_tells_of_from_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LaloraError, match=r"there is no folder 'me/laplace'; .* use Laplace\.from_hub"):
        Laplace.load("me/laplace")


def test_an_unreachable_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: Any, **options: Any) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(_hub, "snapshot_download", unreachable)
    with pytest.raises(LaloraError, match=r"cannot fetch the Laplace 'me/laplace' .*\(no route to host\): check"):
        Laplace.from_hub("me/laplace")


def test_a_command_finds_it_in_a_folder_or_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hub, "snapshot_download", lambda repo_id, **_: str(tmp_path / "cache" / repo_id))
    assert laplace_folder("me/laplace") == tmp_path / "cache" / "me" / "laplace"
    assert laplace_folder("./me/laplace") == Path("me/laplace")
    (tmp_path / "me" / "laplace").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert laplace_folder("me/laplace") == Path("me/laplace")
    with pytest.raises(LaloraError, match="there is no folder laplce: give what `lalora fit` wrote"):
        laplace_folder("laplce")
