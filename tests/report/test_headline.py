from copy import deepcopy
from typing import Any

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
        "model on source text. LaLoRA λ=1 kept 90% of that gain and removed 75% of that drift."
    )


def test_says_so_when_no_run_kept_enough(results: dict[str, Any]) -> None:
    final(results, 0, target_loss=0.564, source_kl=0.2)
    final(results, 1, target_loss=1.064, source_kl=0.1)
    final(results, 2, target_loss=1.464, source_kl=0.05)
    assert "No other method kept 80% of that gain; the closest, LaLoRA λ=1, kept 50% and removed 50%" in headline(
        found(results)
    )


def test_says_so_when_every_run_drifted_more(results: dict[str, Any]) -> None:
    final(results, 0, target_loss=0.564, source_kl=0.1)
    final(results, 1, target_loss=0.564, source_kl=0.15)
    final(results, 2, target_loss=0.564, source_kl=0.2)
    assert "drifted less: LaLoRA λ=1 kept 100% of the gain and drifted 50% more." in headline(found(results))


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


def test_shares_and_large_numbers_have_their_deviation(results: dict[str, Any]) -> None:
    results["runs"] = results["runs"][:2]
    final(results, 0, target_loss=0.564, source_kl=0.2)
    final(results, 1, target_loss=0.664, source_kl=0.1)
    for run in deepcopy(results["runs"]):
        run["seed"] = 1
        if run["method"] != "lora":
            run["final"] |= {"target_loss": 0.644, "source_kl": 0.04}
        results["runs"].append(run)
    # Shares of 90% and 92%, of 50% and 80%.
    assert headline(found(results)).endswith("kept 91% ± 1% of that gain and removed 65% ± 21% of that drift.")
    removed, kept, _ = key_figures(found(results))
    assert (removed.value, kept.value) == ("65% ± 21%", "91% ± 1%")
    assert removed.detail == "KL on source text 0.200 ± 0.000 → 0.070 ± 0.042"
    assert kept.detail == "target loss 0.564 ± 0.000 → 0.654 ± 0.014"


def test_more_drift_has_its_deviation_too(results: dict[str, Any]) -> None:
    results["runs"] = results["runs"][:2]
    final(results, 0, target_loss=0.564, source_kl=0.1)
    final(results, 1, target_loss=0.564, source_kl=0.12)
    for run in deepcopy(results["runs"]):
        run["seed"] = 1
        if run["method"] != "lora":
            run["final"]["source_kl"] = 0.14
        results["runs"].append(run)
    assert "and drifted 30% ± 14% more." in headline(found(results))
