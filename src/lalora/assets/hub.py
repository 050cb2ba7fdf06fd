"""Ask the Hugging Face hub one quick question before anything is loaded from it."""

from typing import Literal

from huggingface_hub import HfApi
from huggingface_hub.errors import OfflineModeIsEnabled

from lalora.errors import one_line


def why_unavailable(repository: str, kind: Literal["model", "dataset"]) -> str | None:
    """Say in one line why the hub has no such repository, or None; without the retries that loading would spend."""
    try:
        HfApi().repo_info(repository, repo_type=kind, timeout=10)
    except OfflineModeIsEnabled:
        return None
    except Exception as error:  # the client changes its HTTP library, and the errors with it, between releases
        return one_line(error)
    return None
