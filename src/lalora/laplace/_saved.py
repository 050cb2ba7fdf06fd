"""A Laplace as files: on this machine, and on the Hugging Face hub."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature import Curvature
from lalora.laplace import _file, _hub
from lalora.laplace._provenance import Provenance


class Shared:
    """What can be saved, loaded, pushed and pulled; `Laplace` says what the parts are."""

    mean: dict[str, Tensor]
    shapes: dict[str, tuple[int, ...]]
    curvature: Curvature
    provenance: Provenance
    prior: float

    def __init__(self, mean: Any, shapes: Any, curvature: Curvature, provenance: Provenance, prior: Any) -> None:
        """Take the parts, as `Laplace` does."""
        raise NotImplementedError

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write a folder with `laplace.json` and `laplace-<hash>.safetensors`.

        Args:
            folder: Made where missing.
            dtype: Type of eigenvectors and diagonals in the file, such as `torch.bfloat16`, which halves it; None for
                the one they have. Eigenvalues and the adapter's start are kept as they are.

        Raises:
            LaloraError: If it cannot be written, or the dtype is none.
        """
        parts = _file.Parts(self.mean, self.shapes, self.curvature, self.provenance, self.prior)
        _file.save(parts, Path(folder), dtype)

    @classmethod
    def load(cls, folder: str | Path, prior: float | str | None = None) -> Self:
        """Read what `save` wrote.

        Args:
            folder: The folder.
            prior: Precision δ to use instead of the one in the file, a number ≥ 0 or `auto`.

        Returns:
            The Laplace; it checks a model when it first meets it.

        Raises:
            LaloraError: If a file is missing, truncated, altered, of a newer format, or holds another curvature, or
                the prior is out of range.
        """
        parts = _file.load(Path(folder))
        return cls(parts.mean, parts.shapes, parts.curvature, parts.provenance, parts.prior if prior is None else prior)

    def push_to_hub(
        self, repo_id: str, licence: str = "other", *, dtype: torch.dtype | None = None, **options: Any
    ) -> str:
        """Upload the two files and a model card to the Hugging Face hub.

        Args:
            repo_id: `user/name`.
            licence: The hub's name of the licence, which should fit that of the base model and the source data.
            dtype: As in `save`.
            **options: Passed to `huggingface_hub.HfApi.create_repo`, such as `private=True` or `token=…`.

        Returns:
            Address of the commit.

        Raises:
            LaloraError: If the hub cannot be reached or refuses.
        """
        return _hub.push(partial(self.save, dtype=dtype), self.provenance, repo_id, licence, **options)

    @classmethod
    def from_hub(cls, repo_id: str, **options: Any) -> Self:
        """Download a Laplace from the Hugging Face hub.

        Args:
            repo_id: `user/name`.
            **options: Passed to `huggingface_hub.snapshot_download`, such as `revision=…` or `token=…`.

        Returns:
            The Laplace.

        Raises:
            LaloraError: If the hub cannot be reached, or the files are not a Laplace.
        """
        return cls.load(_hub.pull(repo_id, **options))
