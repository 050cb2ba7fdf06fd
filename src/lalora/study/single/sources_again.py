"""The sources of a Laplace, found again so that what was forgotten of them can be measured."""

from transformers import PreTrainedTokenizerBase

from lalora.domains import is_here, is_known
from lalora.fisher import ContentHash, Dataset
from lalora.laplace import Laplace
from lalora.study.setup.data import load_all, source_batches

PLACE = "embedded"


def found_again(laplace: Laplace, tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """Name the sources that are on this machine and whose scored rows the fit did not see, each with its place.

    The fit's rows are drawn again and their hash is compared: a name alone says nothing of where its rows came from.
    """
    seed = laplace.provenance.fit.seed
    return {dataset.name: PLACE for dataset in laplace.provenance.datasets if _is_the_same(dataset, tokenizer, seed)}


def _is_the_same(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, seed: int) -> bool:
    if not is_known(dataset.name) or not is_here(dataset.name, PLACE):
        return False
    content = ContentHash()
    data = load_all({dataset.name: PLACE}, "source")
    for batch in source_batches(data, tokenizer, dataset.rows, 1, seed)[dataset.name]:
        content.add(batch)
    return content.hexdigest() == dataset.sha256
