"""What a study would be refused for, told before it runs: nothing is fetched and nothing written."""

from pathlib import Path

from lalora.domains import HarnessTask, Place, is_here
from lalora.results.state import RESULTS
from lalora.study.recipe.recipe import Recipe
from lalora.study.recipe.settings import StudySettings
from lalora.study.runners.run_study import require_same_study
from lalora.study.setup.base_model import absent, base_config, load_base, load_words
from lalora.study.setup.data import load_all, prepare
from lalora.study.setup.open_context import evaluation_sets, open_context
from lalora.study.store.folder import require_writable

_LARGEST = 2 * 2**30
"""Bytes of weights that are still loaded; more take minutes, and may not fit where a study is only planned."""


def rehearse(recipe: Recipe, folder: Path) -> list[str]:
    """Refuse what the study would be refused for when it opens, as far as what is on this disk can tell."""
    study = recipe.study
    require_writable(folder / RESULTS)
    require_same_study(recipe, folder)
    places = study.sources | study.target | study.held_out
    here = {name: place for name, place in places.items() if is_here(name, place)}
    data = [
        f"{name}, whose rows would be fetched ({_told(place)})" for name, place in places.items() if name not in here
    ]
    models = [f"the model {name}, which would be fetched" for name in absent(study)]
    loads = not (models or study.random_weights or _is_large(study))
    if loads and not data:
        open_context(recipe, folder, lambda _: None)
    elif not (models or data):
        evaluation_sets(study, prepare(study, load_words(study), base_config(study)))
    else:
        for role, named in study.places.items():
            load_all({name: place for name, place in named.items() if name in here}, role)
        if loads:
            load_base(study)
    weights = (
        [f"the weights of {study.model}, which are large"] if not study.random_weights and _is_large(study) else []
    )
    return [*models, *weights, *data]


def _told(place: Place) -> str:
    if isinstance(place, HarnessTask):
        return f"the task {place.task}"
    return place if isinstance(place, str) else place.path


def _is_large(study: StudySettings) -> bool:
    files = Path(study.model).expanduser().glob("*.safetensors")
    return sum(file.stat().st_size for file in files) > _LARGEST
