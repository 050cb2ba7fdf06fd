"""Fronts on tiny models that begin at the best scale and are measured on rows that no fit saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

import lalora
from lalora import LaloraError
from lalora.scoring import score_loss, score_text
from lalora.softening import HeldOut, scaled
from lalora.softening._carrier import OfAdapter
from lalora.softening._start import best_scale
from softening.test_front import SOURCE, TARGET, base_laplace, changes, logits, trained
from tiny import batches, llama, lora, rows

UNSEEN = {"a": batches(rows(6, seed=21), 3), "b": batches(rows(4, seed=22), 2)}
UNSEEN_TARGET = batches(rows(6, seed=23), 3)


def learned(steps: int = 40) -> PeftModel:
    """Trained, and then moved far beyond the minimum of the loss."""
    model = lora()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-2)
    for step in range(steps):
        loss = model(**TARGET[step % len(TARGET)]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.mul_(3)
    return model.eval()


def test_it_begins_where_the_loss_on_unseen_rows_is_least() -> None:
    model = learned()
    best = best_scale(OfAdapter(model), UNSEEN_TARGET)
    losses = {}
    for eighth in range(1, 9):
        with scaled(model, eighth / 8):
            losses[eighth / 8] = score_loss(model, UNSEEN_TARGET)
    assert best < 1
    # From the adapter downwards, as long as it falls.
    assert losses[best] < losses[best + 1 / 8]
    assert best == 1 / 8 or losses[best] <= losses[best - 1 / 8]


def test_a_front_from_a_smaller_scale() -> None:
    model = learned()
    before, as_trained = changes(model), logits(model)
    front = lalora.soften(model, TARGET, base_laplace(), held_out=UNSEEN_TARGET, progress=False)
    assert torch.equal(logits(model), as_trained)
    assert front.scale == best_scale(OfAdapter(model), UNSEEN_TARGET)
    front.apply(model, 0.0)
    for layer, change in changes(model).items():
        assert (change - front.scale * before[layer]).norm() <= 1e-4 * before[layer].norm()


def test_the_curvature_of_the_source_fitted_on_the_spot() -> None:
    model = trained()
    given = lalora.soften(model, TARGET, base_laplace(), progress=False)
    fitted = lalora.soften(model, TARGET, source=SOURCE, progress=False)
    assert fitted.predict(1.0).source == pytest.approx(given.predict(1.0).source, rel=1e-3)
    assert fitted.predict(1.0).target == pytest.approx(given.predict(1.0).target, rel=1e-3)


def test_two_targets_are_averaged() -> None:
    model = trained()
    two = lalora.soften(model, {"a": TARGET, "b": UNSEEN_TARGET}, base_laplace(), progress=False)
    both = lalora.fit(model, {"a": TARGET, "b": UNSEEN_TARGET}, curvature="weight-kfac", progress=False)
    alone = [lalora.soften(model, {name: rows}, base_laplace(), progress=False) for name, rows in
             (("a", TARGET), ("b", UNSEEN_TARGET))]  # fmt: skip
    drifts = [front.predict(1.0).source for front in alone]
    assert min(drifts) * 0.8 <= two.predict(1.0).source <= max(drifts) * 1.2
    assert len(both.provenance.datasets) == 2


def test_the_version_that_fits_a_budget_of_drift() -> None:
    model = trained()
    front = lalora.soften(model, TARGET, base_laplace(), progress=False)
    whole = sum(score_text(model, rows).kl for rows in UNSEEN.values()) / 2
    choice = front.within(drift=whole / 10, batches=UNSEEN, target=UNSEEN_TARGET)
    assert choice.met
    front.apply(model, choice.strength)
    measured = sum(score_text(model, rows).kl for rows in UNSEEN.values()) / 2
    assert measured == pytest.approx(choice.measured.drift, rel=1e-5)
    assert whole / 20 < measured <= whole / 10
    assert choice.measured.target_loss == pytest.approx(score_loss(model, UNSEEN_TARGET), rel=1e-5)
    interval = choice.measured.interval
    assert interval.mean == pytest.approx(measured, rel=1e-5)
    assert interval.low < interval.mean < interval.high


def test_the_version_that_keeps_a_floor() -> None:
    model = learned(8)
    front = lalora.soften(model, TARGET, base_laplace(), progress=False)
    least = score_loss(model, TARGET)
    choice = front.within(floor=0.01, target=TARGET[:0] + UNSEEN_TARGET, batches=UNSEEN)
    assert choice.met
    assert choice.measured.target_loss is not None
    start = choice.tried[0.0].target_loss
    assert start is not None
    assert choice.measured.target_loss - start <= 0.01
    assert score_loss(model, TARGET) == least


def test_measuring_leaves_the_model_as_it_is() -> None:
    model = trained()
    as_trained = logits(model)
    front = lalora.soften(model, TARGET, base_laplace(), progress=False)
    front.measure(1.0, HeldOut(model, UNSEEN, UNSEEN_TARGET))
    assert torch.equal(logits(model), as_trained)


def test_measured_is_what_the_scores_say_row_by_row() -> None:
    model = trained()
    measured = HeldOut(model, UNSEEN, UNSEEN_TARGET).measure()
    for name, text in UNSEEN.items():
        score = score_text(model, text)
        assert measured.sources[name].mean_kl == pytest.approx(score.kl, rel=1e-6)
        assert int(measured.sources[name].tokens.sum()) == score.tokens
        first = score_text(model, [{key: value[:1] for key, value in text[0].items()}])
        assert float(measured.sources[name].kl[0] / measured.sources[name].tokens[0]) == pytest.approx(
            first.kl, rel=1e-5
        )


REFUSED: dict[str, tuple[Any, str]] = {
    "no rows for a drift": (lambda front: front.within(drift=0.1), "give batches of source rows"),
    "no rows for a floor": (lambda front: front.within(floor=0.1, batches=UNSEEN), "give target rows"),
    "source rows that were fitted": (lambda front: front.within(drift=0.1, batches=SOURCE), "rows of source 'source'"),
    "one target row that was fitted": (
        lambda front: front.within(floor=0.1, target=[*UNSEEN_TARGET, {k: v[1:2] for k, v in TARGET[0].items()}]),
        "rows of the target were fitted on",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_measured_is_refused(case: str) -> None:
    front = lalora.soften(trained(), TARGET, base_laplace(), progress=False)
    with pytest.raises(LaloraError, match=REFUSED[case][1]):
        REFUSED[case][0](front)


def test_rows_of_a_source_fitted_on_the_spot_are_known_one_by_one() -> None:
    front = lalora.soften(trained(), TARGET, source=SOURCE, progress=False)
    with pytest.raises(LaloraError, match="were fitted on"):
        front.within(drift=0.1, batches=[*UNSEEN["a"], {k: v[:1] for k, v in SOURCE[1].items()}])


def test_held_out_rows_among_those_of_the_target_are_refused() -> None:
    with pytest.raises(LaloraError, match="held-out rows are among"):
        lalora.soften(trained(), TARGET, base_laplace(), held_out=[*UNSEEN_TARGET, TARGET[1]], progress=False)


@pytest.mark.parametrize("given", [{}, {"laplace": True, "source": SOURCE}], ids=["neither", "both"])
def test_a_laplace_or_source_text(given: dict[str, Any]) -> None:
    given = {**given, **({"laplace": base_laplace()} if given else {})}
    with pytest.raises(LaloraError, match="one of the two"):
        lalora.soften(trained(), TARGET, progress=False, **given)


def test_an_adapter_loaded_and_softened_on_the_spot(tmp_path: Path) -> None:
    trained().save_pretrained(str(tmp_path))
    model = PeftModel.from_pretrained(llama(), str(tmp_path))
    front = lalora.soften(model, TARGET, source=SOURCE, progress=False)
    assert front.predict(1.0).source > 0
