from copy import deepcopy
from typing import Any

import pytest

from lalora.report import headline
from lalora.report.headline import key_figures
from made_up_study import found


def final(results: dict[str, Any], place: int, **values: float | None) -> None:
    results["runs"][place]["final"] |= values


def test_the_run_that_forgot_least_of_those_that_learned(results: dict[str, Any]) -> None:
    final(results, 0, target_loss=0.864, source_kl=0.2)
    final(results, 1, target_loss=0.934, source_kl=0.05)
    final(results, 2, target_loss=1.064, source_kl=0.01)
    assert headline(found(results)) == (
        "Plain LoRA lowered the target loss from 1.564 to 0.864 and drifted 0.200 nats per token from the base "
        "model on source text. One seed: LaLoRA λ=1 reached 90% of that gain at 25% of that drift."
    )


def test_says_so_when_no_run_kept_enough(results: dict[str, Any]) -> None:
    final(results, 0, target_loss=0.564, source_kl=0.2)
    final(results, 1, target_loss=1.064, source_kl=0.1)
    final(results, 2, target_loss=1.464, source_kl=0.05)
    text = headline(found(results))
    assert "One seed: LaLoRA λ=1 reached 50% of that gain (no other method reached 80%) at 50% of that drift." in text


def test_one_seed_has_no_verdict(results: dict[str, Any]) -> None:
    final(results, 0, target_loss=0.564, source_kl=0.1)
    final(results, 1, target_loss=0.564, source_kl=0.15)
    final(results, 2, target_loss=0.564, source_kl=0.2)
    assert "One seed: LaLoRA λ=1 reached 100% of that gain at 150% of that drift." in headline(found(results))
    drift, kept, _ = key_figures(found(results))
    assert (drift.value, drift.caption) == ("150%", "of plain LoRA's drift, one seed")
    assert kept.caption == "of plain LoRA's learning, one seed"


def test_says_so_when_plain_lora_did_not_learn(results: dict[str, Any]) -> None:
    final(results, 0, target_loss=1.7)
    assert "did not learn the target: its loss went from 1.564 to 1.700" in headline(found(results))


def test_says_so_when_nothing_was_measured(results: dict[str, Any]) -> None:
    final(results, 0, source_kl=None)
    assert headline(found(results)).endswith("its drift on source text was not measured.")


def test_without_plain_lora(results: dict[str, Any]) -> None:
    del results["runs"][0]
    assert "LaLoRA λ=1 reached the lowest target loss" in headline(found(results))
    assert "Without a finished run of plain LoRA" in headline(found(results))


def test_plain_lora_alone(results: dict[str, Any]) -> None:
    del results["runs"][1:]
    assert headline(found(results)).endswith("on source text.")


def test_without_runs(results: dict[str, Any]) -> None:
    assert "No run has finished yet" in headline(found({**results, "runs": []}))


def test_seeds_are_averaged(results: dict[str, Any]) -> None:
    final(results, 0, target_loss=0.6, source_kl=0.182)
    for run in deepcopy(results["runs"]):
        run["seed"] = 1
        if run["method"] == "lora":
            run["final"]["target_loss"] = 0.8
        results["runs"].append(run)
    text = headline(found(results))
    # The deviation of 0.6 and 0.8 is 0.1·√2.
    assert "to 0.700 ± 0.141 (means of 2 seeds ± one standard deviation) and drifted 0.182 ± 0.000 nats" in text


def three_seeds(results: dict[str, Any], plain: list[float], other: list[float]) -> None:
    """Leaves plain LoRA and one other method, with these drifts by seed."""
    results["runs"] = [{**deepcopy(run), "seed": seed} for run in results["runs"][:2] for seed in range(len(plain))]
    for run in results["runs"]:
        drift = (plain if run["method"] == "lora" else other)[run["seed"]]
        run["final"] |= {"target_loss": 0.564 if run["method"] == "lora" else 0.664, "source_kl": drift}


def test_a_difference_that_its_interval_tells_from_none(results: dict[str, Any]) -> None:
    three_seeds(results, [0.2, 0.2, 0.2], [0.05, 0.06, 0.07])
    # Differences of −0.15, −0.14, −0.13: −0.14 ± 4.303 · 0.01 / √3.
    assert headline(found(results)).endswith("kept 90% ± 0% of that gain and removed 70% ± 5% of that drift.")
    removed, kept, _ = key_figures(found(results))
    assert (removed.value, removed.caption) == ("70% ± 5%", "of plain LoRA's forgetting removed")
    assert (kept.value, kept.caption) == ("90% ± 0%", "of plain LoRA's learning kept")
    assert removed.detail == "KL on source text 0.200 ± 0.000 → 0.060 ± 0.010"


def test_a_difference_that_its_interval_does_not_tell_from_none(results: dict[str, Any]) -> None:
    three_seeds(results, [0.2, 0.2, 0.2], [0.05, 0.1, 0.18])
    # Differences of −0.15, −0.10, −0.02: −0.09 ± 4.3027 · 0.065574 / √3 = 0.16290.
    text = headline(found(results))
    assert "removed" not in text
    assert text.endswith(
        "drifted 55% ± 33% as much: undecided, the difference over 3 paired seeds is −0.090 "
        "(95% interval −0.253 to +0.073)."
    )
    assert key_figures(found(results))[0].caption == "of plain LoRA's drift: undecided whether less"


def test_what_the_statistics_of_the_page_doubt_is_undecided(results: dict[str, Any]) -> None:
    three_seeds(results, [0.2, 0.2, 0.2], [0.05, 0.06, 0.07])
    doubted = {"label": "LaLoRA λ=1", "metric": "source_kl", "mean": -0.14, "p": 0.06, "seeds": 3, "sure": False}
    results["selection"] = {"methods": [], "comparisons": [doubted]}
    assert "undecided" in headline(found(results))


def test_more_drift_has_its_deviation_too(results: dict[str, Any]) -> None:
    three_seeds(results, [0.1, 0.1, 0.1], [0.12, 0.13, 0.14])
    assert "drifted less: LaLoRA λ=1 kept 90% ± 0% of the gain and drifted 30% ± 10% more." in headline(found(results))


def test_a_sure_difference_comes_before_a_lower_mean(results: dict[str, Any]) -> None:
    sure = deepcopy(results)
    three_seeds(results, [0.2, 0.2, 0.2], [0.0, 0.1, 0.02])
    three_seeds(sure, [0.2, 0.2, 0.2], [0.12, 0.13, 0.14])
    results["runs"][3:3] = [{**run, "label": "Sure"} for run in sure["runs"][3:]]
    assert "removed" in headline(found(results))
    results["runs"][-2]["final"]["source_kl"] = 0.39
    assert "Sure kept" in headline(found(results))


@pytest.mark.parametrize("plain", [[0.0005, 0.0004, 0.0005], [0.001, 0.001, 0.2]])
def test_without_drift_there_is_nothing_to_remove(results: dict[str, Any], plain: list[float]) -> None:
    three_seeds(results, plain, [0.0, 0.0, 0.0])
    text = headline(found(results))
    assert text.endswith("which cannot be told from no drift, so there is no forgetting to remove.")
    assert key_figures(found(results)) == []


@pytest.mark.parametrize(
    ("seconds", "value", "caption"),
    [
        (5.4, "≈ 1×", "a step takes about as long as plain LoRA's"),
        (4.6, "≈ 1×", "a step takes about as long as plain LoRA's"),
        (7.5, "1.50×", "of plain LoRA's time per step"),
    ],
)
def test_times_within_noise_are_about_as_long(
    results: dict[str, Any], seconds: float, value: str, caption: str
) -> None:
    del results["runs"][2:]
    results["runs"][0]["step_seconds"], results["runs"][1]["step_seconds"] = 5.0, seconds
    time = key_figures(found(results))[-1]
    assert (time.value, time.caption) == (value, caption)
