"""Replay whose source rows have a share of the loss, against the weighted loss written out."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import Trainer, TrainingArguments

from lalora import LaloraError, MethodTrainer, methods
from lalora.adapter import snapshot, trainable_tensors
from lalora.completion import completion
from lalora.methods import Replay
from lalora.methods._row_weights import RowWeights, completion_tokens, visible
from tiny import batches, collate, lora, rows

SOURCE = rows(5, seed=3, longest=8)
SOURCES = {"arc": batches(SOURCE[:3], 2), "hella": batches(SOURCE[3:], 2)}
TARGET = [{name: value.tolist() for name, value in row.items()} for row in rows(400, seed=4, longest=30)]
OF_SOURCE = {tuple(row["input_ids"].tolist()) for row in SOURCE}

Plain = dict[str, list[int]]


def tokens(row: Plain) -> int:
    return sum(label != -100 for label in row["labels"][1:])


def mixed(share: float, seed: int = 0, **options: str) -> tuple[list[Plain], Replay, PeftModel]:
    model = lora(b_scale=0.3)
    method = Replay(share, **options)
    method.prepare(model, SOURCES)
    found = [dict(row) for row in method.training_rows(TARGET, seed)]
    return found, method, model  # type: ignore[return-value]


def is_source(row: Plain) -> bool:
    return tuple(row["input_ids"]) in OF_SOURCE


def weights(found: list[Plain], share: float) -> tuple[float, float]:
    """Of a source token and of a target token: shares of the weight over shares of the tokens."""
    ours = sum(tokens(row) for row in found if is_source(row))
    every = sum(tokens(row) for row in found)
    return share / (ours / every), (1 - share) / (1 - ours / every)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_source_tokens_have_their_share_of_the_weights_and_a_token_weighs_one_on_average(share: float) -> None:
    found, method, _ = mixed(share, weigh="loss")
    of_source, of_target = weights(found, share)
    ours = sum(tokens(row) * of_source for row in found if is_source(row))
    theirs = sum(tokens(row) * of_target for row in found if not is_source(row))
    assert ours / (ours + theirs) == pytest.approx(share, abs=1e-12)
    assert ours + theirs == pytest.approx(sum(map(tokens, found)))
    assert method.metrics(lora()) == {"source_share": share}
    # By rows alone it is far less, since these source rows are short.
    by_rows, plain, _ = mixed(share)
    unweighed = sum(tokens(row) for row in by_rows if is_source(row)) / sum(map(tokens, by_rows))
    assert plain.metrics(lora())["source_share"] == pytest.approx(unweighed)
    assert unweighed < 0.9 * share


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_each_step_has_its_part(share: float) -> None:
    found, _, _ = mixed(share, weigh="loss")
    steps = [found[start : start + 4] for start in range(0, len(found), 4)]
    assert {sum(map(is_source, step)) for step in steps} == {int(4 * share)}
    of_source, of_target = weights(found, share)
    parts = []
    for step in steps:
        every = sum(map(tokens, step))
        ours = sum(tokens(row) for row in step if is_source(row))
        parts.append((of_source * ours / every, of_target * (every - ours) / every))
    ours, theirs = (sum(values) for values in zip(*parts, strict=True))
    # What the mean of a step's own tokens adds to it comes of rows of unequal length.
    assert ours / (ours + theirs) == pytest.approx(share, abs=0.05)


def test_a_share_that_fits_no_step_evenly_holds_over_the_run() -> None:
    found, _, _ = mixed(0.3, weigh="loss")
    assert sum(map(is_source, found)) == 120
    assert [row for row in found if not is_source(row)] == [
        row for row, ours in zip(TARGET, map(is_source, found), strict=True) if not ours
    ]


@pytest.mark.parametrize("own_loss", [True, False])
def test_gradients_are_those_of_the_weighted_loss_written_out(own_loss: bool) -> None:
    """By the model's own loss and by that of studies; Llama's norms compute in float32 whatever the weights are."""
    found, _, model = mixed(0.25, weigh="loss")
    model = model.double().train()
    batch = collate([{name: torch.tensor(values) for name, values in row.items()} for row in found[:4]])
    assert sum(map(is_source, found[:4])) == 1
    every = sum(map(tokens, found[:4]))
    if own_loss:
        model(**batch, num_items_in_batch=every).loss.backward()
    else:
        seen = completion(model, batch)
        (torch.nn.functional.cross_entropy(seen.logits, seen.targets, reduction="sum") / every).backward()
    ours = {name: tensor.grad.clone() for name, tensor in trainable_tensors(model).items()}

    plain = lora(b_scale=0.3).double().train()
    of_source, of_target = weights(found, 0.25)
    loss = torch.zeros((), dtype=torch.float64)
    for row in found[:4]:
        logits = plain(input_ids=torch.tensor([row["input_ids"]])).logits[0].log_softmax(-1)
        for position, label in enumerate(row["labels"][1:]):
            if label != -100:
                loss = loss - (of_source if is_source(row) else of_target) * logits[position, label] / every
    loss.backward()
    for name, tensor in trainable_tensors(plain).items():
        assert (ours[name] - tensor.grad).abs().max() <= 1e-6 * tensor.grad.abs().max(), name


def trained(arguments: TrainingArguments, method: Replay | None, resume: str | None = None) -> dict[str, Tensor]:
    model = lora()
    common = {
        "model": model,
        "args": arguments,
        "train_dataset": [{name: torch.tensor(value) for name, value in row.items()} for row in TARGET[:24]],
        "data_collator": collate,
    }
    trainer = MethodTrainer(methods=[method], sources=SOURCES, **common) if method else Trainer(**common)
    trainer.train(resume_from_checkpoint=resume)
    logged = [row["source_share"] for row in trainer.state.log_history if "source_share" in row]
    assert logged == ([method.share] * 6 if method and method.share and method.weigh == "loss" else logged)
    return snapshot(model)


def arguments(folder: str, **settings: object) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder, max_steps=6, per_device_train_batch_size=2, gradient_accumulation_steps=2, seed=3,
        learning_rate=1e-2, report_to="none", logging_steps=1, use_cpu=True, disable_tqdm=True,
        remove_unused_columns=False, **{"save_strategy": "no", **settings},
    )  # fmt: skip


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_it_goes_on_to_the_bit_and_share_zero_is_plain_lora(tmp_path: object) -> None:
    whole = trained(arguments(f"{tmp_path}/whole", save_strategy="steps", save_steps=3), Replay(0.25, weigh="loss"))
    again = trained(
        arguments(f"{tmp_path}/whole", save_strategy="steps", save_steps=3),
        Replay(0.25, weigh="loss"),
        f"{tmp_path}/whole/checkpoint-3",
    )
    assert same(whole, again)
    by_rows = trained(arguments(f"{tmp_path}/rows"), Replay(0.25))
    assert not same(whole, by_rows)
    plain = trained(arguments(f"{tmp_path}/plain"), None)
    assert same(trained(arguments(f"{tmp_path}/zero"), Replay(0.0, weigh="loss")), plain)


def test_the_seed_decides() -> None:
    assert mixed(0.3, weigh="loss")[0] == mixed(0.3, weigh="loss")[0]
    assert mixed(0.3, weigh="loss")[0] != mixed(0.3, seed=1, weigh="loss")[0]


def test_rows_that_nobody_weighed_are_refused_and_measuring_is_left_alone() -> None:
    _, _, model = mixed(0.25, weigh="loss")
    packed = batches([{name: torch.cat([row[name] for row in SOURCE[:2]]) for name in ("input_ids", "labels")}], 1)[0]
    with pytest.raises(LaloraError, match="a batch holds a row that is none of those that were weighed"):
        model.train()(**packed)
    assert model.eval()(**packed).loss.item() == pytest.approx(lora(b_scale=0.3).eval()(**packed).loss.item())


def test_a_loss_that_goes_around_the_output_layer_is_refused() -> None:
    model = lora().train()
    row = TARGET[0]
    RowWeights(model).set([(2.0, [row])])
    base = model.get_base_model()
    whole = base.forward
    base.forward = lambda **inputs: base.model(input_ids=inputs["input_ids"])  # type: ignore[method-assign]
    with pytest.raises(LaloraError, match="computes its loss without its output layer"):
        model(input_ids=torch.tensor([row["input_ids"]]))
    base.forward = whole


def test_what_a_mask_hides_is_no_part_of_a_row() -> None:
    row = {"input_ids": torch.tensor([0, 7, 8, 9]), "labels": [-100, 7, -100, 9], "attention_mask": [0, 1, 1, 1]}
    assert visible(row) == (7, 8, 9)  # type: ignore[arg-type]
    assert completion_tokens(row) == 1  # type: ignore[arg-type]


def test_weigh_is_one_of_two_words() -> None:
    with pytest.raises(LaloraError, match="weigh='tokens' is unknown: choose rows or loss"):
        methods.build("replay", weigh="tokens")
