"""Which rows are trained on when source text is mixed in."""

import pytest

from lalora import LaloraError, methods
from tiny import batches, lora, rows

SOURCE = rows(5, seed=3)
SOURCES = {"arc": batches(SOURCE[:3], 2), "hella": batches(SOURCE[3:], 2)}
TARGET = [{"input_ids": [number], "labels": [number]} for number in range(4000)]


def mixed(share: float, seed: int = 0) -> list[dict[str, list[int]]]:
    method = methods.build("replay", share=share)
    method.prepare(lora(), SOURCES)
    return method.training_rows(TARGET, seed)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_holds_over_a_thousand_batches(share: float) -> None:
    found = mixed(share)
    assert len(found) == len(TARGET)
    replayed = sum(len(row["input_ids"]) > 1 for row in found)
    # Four standard deviations of a binomial.
    assert abs(replayed / len(found) - share) < 4 * (share * (1 - share) / len(found)) ** 0.5


def test_the_rows_are_the_source_rows_without_padding_and_equally_often() -> None:
    wanted = [(row["input_ids"].tolist(), row["labels"].tolist()) for row in SOURCE]
    found = [(row["input_ids"], row["labels"]) for row in mixed(0.5) if len(row["input_ids"]) > 1]
    counts = [found.count(row) for row in wanted]
    assert sum(counts) == len(found)
    assert max(counts) - min(counts) <= 1


def test_target_rows_stay_in_their_places() -> None:
    assert all(row is TARGET[place] for place, row in enumerate(mixed(0.3)) if len(row["input_ids"]) == 1)


def test_share_zero_is_plain_lora_and_the_seed_decides() -> None:
    assert mixed(0.0) == TARGET
    assert mixed(0.3) == mixed(0.3)
    assert mixed(0.3) != mixed(0.3, seed=1)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_out_of_range(share: float) -> None:
    with pytest.raises(LaloraError, match="share must be"):
        methods.build("replay", share=share)


def test_without_source_text_it_cannot_work() -> None:
    with pytest.raises(LaloraError, match="method 'replay' needs source text"):
        methods.build("replay").prepare(lora(), {})
