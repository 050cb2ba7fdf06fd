"""Every rival of softening against its authors' formula, written out in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lalora import LaloraError, fit, methods
from lalora.adapter import linear_pairs
from lalora.batches import Batch
from lalora.curvature import Factor, WeightDiagonal
from lalora.posthoc import RIVALS, Trained, kept_steps, rival_named
from lalora.posthoc.conjugate_gradients import conjugate_gradients
from lalora.posthoc.fisher_average import tokens_by_row
from lalora.posthoc.held import with_changes
from lalora.posthoc.lines import factor
from lalora.posthoc.mats import Rotated
from lalora.posthoc.regmean import averaged
from lalora.posthoc.rewind import between
from lalora.softening._naive import minimiser
from tiny import batches, llama, lora, rows, shake

TARGET, SOURCE = batches(rows(4, 1), 2), batches(rows(5, 2), 2)


def trained(**given: object) -> Trained:
    model = lora(b_scale=0.3).eval()
    return Trained(model, {"target": TARGET}, {"source": SOURCE}, steps=4, **given)  # type: ignore[arg-type]


def logits(model: torch.nn.Module) -> Tensor:
    shown: Batch = {name: value for name, value in TARGET[0].items() if name != "labels"}
    with torch.no_grad():
        found: Tensor = model(**shown).logits
    return found


def merged(changes: dict[str, Tensor]) -> Tensor:
    """What the base model gives when changes of weights are added to it."""
    base = llama()
    with torch.no_grad():
        for name, change in changes.items():
            base.get_submodule(name.removeprefix("base_model.model.")).weight += change
    return logits(base.eval())


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", RIVALS)
def test_each_leaves_the_model_as_it_was_and_its_base_alone(name: str) -> None:
    of = trained(earlier=lambda step: {key: value * step / 4 for key, value in _tensors(of).items()})
    before = logits(of.model)
    with of.model.disable_adapter():
        base = logits(of.model)
    rival = rival_named(name)(of)
    rival.prepare()
    with rival.at(0.4):
        assert not torch.equal(logits(of.model), before)
        with of.model.disable_adapter():
            assert torch.equal(logits(of.model), base)
    assert torch.equal(logits(of.model), before)
    assert not any(parameter.requires_grad for parameter in of.model.base_model.model.lm_head.parameters())


def test_a_change_of_any_rank_is_held_beside_the_base() -> None:
    of = trained()
    close(_held(of, dict(of.changes)), logits(of.model))
    torch.manual_seed(0)
    full = {name: torch.randn_like(change) for name, change in of.changes.items()}
    close(_held(of, full), merged(full))
    with pytest.raises(LaloraError, match="no adapted layer 'elsewhere'"):
        _held(of, {"elsewhere": torch.zeros(1, 1)})


def test_lines_scales_the_first_block_most_and_the_last_not_at_all() -> None:
    model = lora(b_scale=0.3, target_modules=["q_proj", "lm_head"]).eval()
    of = Trained(model, {"target": TARGET}, {"source": SOURCE})
    by_hand = {name: change * {True: 0.2, False: 1.0}["layers.1." not in name] for name, change in of.changes.items()}
    with rival_named("lines")(of).at(0.2):
        close(logits(model), merged(by_hand))
    five = torch.nn.ModuleDict(
        {"h": torch.nn.ModuleList(torch.nn.ModuleList([torch.nn.Linear(1, 1)]) for _ in range(5))}
    )
    assert [factor(five, f"h.{block}.0", 0.2) for block in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_rewinding_interpolates_changes_of_weights_between_two_steps() -> None:
    earlier = {1: 0.5, 2: -2.0}
    of = trained(earlier=lambda step: {key: value * earlier[step] for key, value in _tensors(of).items()})
    rewind = rival_named("rewind")(of)
    # Both A and B are scaled, so that ΔW is ¼ of itself after the first step, and four times after the second.
    for knob, times in {0.0: 0.0, 0.125: 0.125, 0.25: 0.25, 0.5: 4.0, 0.4: 0.4 * 0.25 + 0.6 * 4, 1.0: 1.0}.items():
        with rewind.at(knob):
            close(logits(of.model), merged({name: change * times for name, change in of.changes.items()}))
    with pytest.raises(LaloraError, match="none was"), rival_named("rewind")(trained()).at(0.5):
        pass
    with pytest.raises(LaloraError, match="give Trained the steps of the training, and earlier="):
        rival_named("rewind")(Trained(of.model, {"target": TARGET}, {"source": SOURCE})).prepare()


def test_adapters_are_kept_around_each_share_of_the_steps() -> None:
    assert kept_steps([0.1, 0.25, 0.5, 1.0, 0.0], 30) == {3, 7, 8, 15}
    assert between(0.1, 30) == (3, 3, 0.0)


def test_intruders_are_those_that_peft_reduces() -> None:
    of = trained()
    shake(of.model, 2.0)
    theirs = lora(b_scale=0.3).eval()
    shake(theirs, 2.0)
    method = methods.build("intruders", removed=0.5)
    method.prepare(theirs, {})
    before = logits(theirs)
    method.after_training(theirs)
    rival = rival_named("intruders")(Trained(of.model, {"target": TARGET}, {"source": SOURCE}))
    rival.prepare()
    with rival.at(0.5):
        torch.testing.assert_close(logits(of.model), logits(theirs), rtol=1e-3, atol=1e-3)
    assert (logits(theirs) - before).norm() > 0.1 * before.norm()


def test_fisher_averaging_weighs_each_weight_by_both_fishers() -> None:
    of, strength = trained(), 0.7
    target, source = of.diagonal("target").fisher, of.diagonal("source").fisher
    tokens = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in TARGET)
    f = {name: block.double() * tokens / 4 for name, block in target.items()}
    of_target, of_source = (torch.cat([block.double().flatten() for block in of.values()]).norm() for of in (f, source))
    by_hand = {}
    for name, change in of.changes.items():
        kept = torch.maximum(f[name], torch.tensor(1e-6)) / of_target
        by_hand[name] = kept * change / (kept + strength * source[name].double() / of_source)
    with rival_named("fisher-average")(of).at(strength):
        close(logits(of.model), merged(by_hand))


def test_the_fisher_is_a_mean_over_rows_of_squared_gradients() -> None:
    model = lora(b_scale=0.3, target_modules=["o_proj"]).eval()
    found = fit(model, TARGET, curvature="weight-diagonal", labels="data", progress=False)
    assert isinstance(found.curvature, WeightDiagonal)
    (name, *_) = found.curvature.fisher
    merged_model = model.merge_and_unload()
    weight = merged_model.get_submodule(name.removeprefix("base_model.model.")).weight.requires_grad_()
    squares = torch.zeros_like(weight)
    for row in rows(4, 1):
        scores = merged_model(input_ids=row["input_ids"][None]).logits[0, :-1].log_softmax(-1)
        labels = row["labels"][1:]
        likelihood = sum(scores[place, label] for place, label in enumerate(labels) if label != -100)
        squares += torch.autograd.grad(likelihood, weight)[0].square() / 4
    by_row = found.curvature.fisher[name] * tokens_by_row(found.provenance.datasets)
    torch.testing.assert_close(by_row, squares, rtol=1e-3, atol=1e-6)


def moment(size: int, count: int, seed: int) -> Tensor:
    samples = torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return samples.T @ samples / count


@pytest.mark.parametrize("strength", [0.0, 0.3, 20.0])
def test_regmean_is_the_regression_on_both_models_inputs(strength: float) -> None:
    a, b = torch.randn(2, 6, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    # Of the two, one has seen too few rows: entries off the diagonal times 0.9 make it regular.
    target, source = moment(6, 3, 1), moment(6, 20, 2)
    nine = 0.9 + 0.1 * torch.eye(6, dtype=torch.float64)
    sides = (torch.eye(5, dtype=torch.float64), target * nine), (torch.eye(5, dtype=torch.float64), source * nine)
    torch.testing.assert_close(b @ averaged(a, target, source, strength), minimiser(b @ a, *sides, strength))


def test_regmean_keeps_what_no_row_excites() -> None:
    blind = torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))
    found = averaged(torch.ones(1, 2, dtype=torch.float64), blind, 3 * blind, 1.0)
    torch.testing.assert_close(found, torch.tensor([[0.25, 1.0]], dtype=torch.float64))


def test_regmean_stays_an_adapter_of_the_same_rank() -> None:
    of = trained()
    target, source = of.kfac("target").factors, of.kfac("source").factors
    with rival_named("regmean")(of).at(0.5):
        for pair in linear_pairs(of.model):
            anchor = of.anchors[pair.layer]
            x = [factors.x(pair.layer).dense().double() for factors in (target, source)]
            assert anchor.a is not None
            close(pair.down.weight.detach(), averaged(anchor.a.double(), x[0], x[1], 0.5))
            assert torch.equal(pair.up.weight, anchor.b)


def sides(counts: tuple[int, int], seed: int) -> tuple[Tensor, Tensor]:
    return moment(5, counts[0], seed), moment(4, counts[1], seed + 1)


def rotated(target: tuple[Tensor, Tensor], source: tuple[Tensor, Tensor]) -> Rotated:
    (tg, tx), (sg, sx) = (
        [Factor.of_matrix(one).to(one.device, torch.float32) for one in pair] for pair in (target, source)
    )
    return Rotated.of((tg, tx), (sg, sx))


def test_mats_finds_the_minimiser_where_there_is_one() -> None:
    target, source = sides((30, 30), 1), sides((30, 30), 5)
    change = torch.randn(5, 4, dtype=torch.float64)
    for strength in (0.0, 0.3, 10.0):
        found = rotated(target, source).solved(change.float(), strength)
        close(found, minimiser(change, target, source, strength))


def test_mats_goes_the_way_of_the_authors_solver_from_the_trained_weights() -> None:
    cg = pytest.importorskip("scipy.sparse.linalg").cg
    # Too few rows of the target: where neither side sees anything, the trained weights stay.
    target, source = sides((3, 2), 1), sides((2, 4), 5)
    change = torch.randn(5, 4, dtype=torch.float64)

    def system(given: Tensor, of: tuple[Tensor, Tensor]) -> Tensor:
        return of[0] @ given @ of[1]

    def product(given: object) -> object:
        whole = torch.as_tensor(given).reshape(5, 4)
        return (system(whole, target) + 0.5 * system(whole, source)).flatten().numpy()

    operator = pytest.importorskip("scipy.sparse.linalg").LinearOperator((20, 20), matvec=product, dtype=float)
    right = system(change, target).flatten().numpy()
    theirs = torch.as_tensor(cg(operator, right, x0=change.flatten().numpy(), maxiter=100)[0]).reshape(5, 4)
    close(rotated(target, source).solved(change.float(), 0.5), theirs)
    three = cg(operator, right, x0=change.flatten().numpy(), maxiter=3)[0]
    ours = conjugate_gradients(
        lambda given: torch.as_tensor(product(given)).reshape(5, 4), system(change, target), change, 3, 1e-5
    )
    torch.testing.assert_close(ours.flatten(), torch.as_tensor(three))


@pytest.mark.parametrize(
    ("name", "knob"), [("lines", 1.5), ("mats", -1.0), ("rewind", float("nan")), ("mats", float("inf"))]
)
def test_knobs_out_of_range_are_refused(name: str, knob: float) -> None:
    with pytest.raises(LaloraError, match=rf"{name}: . is the .*, not "):
        rival_named(name).check(knob)


def _held(of: Trained, changes: dict[str, Tensor]) -> Tensor:
    with with_changes(of.model, changes):
        return logits(of.model)


def _tensors(of: Trained) -> dict[str, Tensor]:
    pairs = linear_pairs(of.model)
    a = {pair.a: pair.down.weight.detach().clone() for pair in pairs}
    return a | {pair.b: pair.up.weight.detach().clone() for pair in pairs}
