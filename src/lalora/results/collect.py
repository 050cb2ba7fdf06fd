"""The results of a study as one file, put together when it ends."""

from pathlib import Path

from lalora.files import parse_json, read_small, write_json
from lalora.results.load import parse
from lalora.results.select import selection_of
from lalora.results.state import RESULTS, STATE, Content, drop_state, so_far


def collect(folder: Path) -> Content:
    """Writes `results.json` from the state and the results of the runs, and returns its content."""
    content = so_far(folder, parse_json(read_small(folder / STATE)))
    selection = selection_of(parse(content))
    if selection is not None:
        content["selection"] = selection.model_dump()
    write_json(folder / RESULTS, content)
    drop_state(folder)
    return content
