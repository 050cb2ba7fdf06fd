"""A Trainer that fits the curvature again in the middle of training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

import lalora
from lalora import LaloraError, LaplaceTrainer
from lalora.adapter import snapshot
from tiny import batches, collate, lora, rows

Arguments = Callable[..., TrainingArguments]
SOURCE = batches(rows(4), 2)


def trainer(args: TrainingArguments, **settings: Any) -> LaplaceTrainer:
    model = lora(lora_dropout=0.1)
    laplace = lalora.fit(model, SOURCE, curvature="weight-kfac", progress=False)
    options = {"train_dataset": rows(16, seed=5), "data_collator": collate, "laplace": laplace, "strength": 4.0}
    return LaplaceTrainer(model=model, args=args, **options, **settings)


def test_it_happens_at_every_so_many_steps(arguments: Arguments, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []
    refit = lalora.laplace._refitting.refit

    def watched(*args: Any, **options: Any) -> lalora.Laplace:
        seeds.append(options["seed"])
        return refit(*args, **options)

    monkeypatch.setattr("lalora.laplace._refitting.refit", watched)
    trained = trainer(arguments(max_steps=7), refit_every=3, refit_sources=iter(SOURCE))
    first = trained.laplace
    trained.train()
    assert seeds == [3, 6]
    assert trained.laplace is not first
    assert all(torch.equal(trained.laplace.mean[name], first.mean[name]) for name in first.mean)


def test_a_resumed_run_goes_on_with_the_curvature_that_it_had(arguments: Arguments, tmp_path: Path) -> None:
    again = {"refit_every": 2, "refit_sources": SOURCE}
    saving = {"save_strategy": "steps", "save_steps": 3, "max_steps": 6}
    whole = trainer(arguments(**saving, output_dir=str(tmp_path / "whole")), **again)
    whole.train()
    resumed = trainer(arguments(**saving, output_dir=str(tmp_path / "resumed")), **again)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    there = snapshot(whole.model)
    assert all(torch.equal(tensor, there[name]) for name, tensor in snapshot(resumed.model).items())
    forgetful = trainer(arguments(**saving, output_dir=str(tmp_path / "forgetful")))
    forgetful.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert not all(torch.equal(tensor, there[name]) for name, tensor in snapshot(forgetful.model).items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"refit_every": 1.5, "refit_sources": SOURCE}, "refit_every must be a valid integer"),
        ({"refit_every": True, "refit_sources": SOURCE}, "refit_every must be"),
        ({"refit_every": 2, "refit_sources": SOURCE, "refit_decay": "0.5"}, "refit_decay must be"),
        ({"refit_every": 0, "refit_sources": SOURCE}, "refit_every must be greater than or equal to 1"),
        ({"refit_every": 2}, "refit_every needs source text"),
        (
            {"refit_every": 2, "refit_sources": SOURCE, "refit_decay": 1.0},
            "refit_decay must be",
        ),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused(
    settings: dict[str, Any], message: str, arguments: Arguments
) -> None:
    with pytest.raises(LaloraError, match=message):
        trainer(arguments(max_steps=1), **settings)
