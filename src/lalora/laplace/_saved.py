"""A Laplace as files: on this machine, and on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature import CURVATURES, Curvature, grouped, require_names
from lalora.errors import LaloraError, one_line
from lalora.laplace import _hub, _storage
from lalora.laplace._consistent import require_consistent
from lalora.laplace._limits import require_prior
from lalora.laplace._provenance import Provenance


class Saved:
    """The parts of a Laplace, which can be saved, loaded, pushed and pulled."""

    def __init__(
        self,
        mean: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
        curvature: Curvature,
        provenance: Provenance,
        prior: float | str = 0.0,
    ) -> None:
        """Put the parts together; `lalora.fit` and `Laplace.load` are the usual ways to get one.

        Args:
            mean: μ by tensor name.
            shapes: Shape of every trainable tensor.
            curvature: Λ.
            provenance: How it was made.
            prior: δ ≥ 0, or `auto` for the mean eigenvalue of Λ.

        Raises:
            LaloraError: If the prior is negative or not finite, or an unknown word.
        """
        require_prior(prior)
        self.mean = dict(mean)
        self.shapes = dict(shapes)
        self.curvature = curvature
        self.provenance = provenance
        self.prior = curvature.mean_eigenvalue() if isinstance(prior, str) else float(prior)

    def __repr__(self) -> str:
        """Say what it is of and what it was fitted on.

        Returns:
            Two lines.
        """
        how = self.provenance
        of = f"a LoRA adapter (r={how.lora['r']})" if how.lora else "the base model, for LoRA of any rank"
        size = sum(tensor.nbytes for tensor in self.curvature.tensors().values()) / 2**20
        rows = ", ".join(f"{data.name} ({data.rows:,} rows)" for data in how.datasets)
        tokens = sum(data.tokens for data in how.datasets)
        return (
            f"Laplace of {of}: {how.base_model}, {how.fit.curvature} of {len(how.fingerprint['layers'])} layers, "
            f"{size:,.1f} MiB, prior {self.prior:g}\n  fitted on {rows}: {tokens:,} tokens"
        )

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write a folder with `laplace.json` and `laplace-<hash>.safetensors`.

        Args:
            folder: Made where missing.
            dtype: Type of eigenvectors and diagonals in the file, such as `torch.bfloat16`, which halves it; None for
                the one they have. Eigenvalues and the adapter's start are kept as they are.

        Raises:
            LaloraError: If it cannot be written, or the dtype is none.
        """
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise LaloraError(f"dtype must be a floating-point type such as torch.bfloat16, not {dtype!r}")
        kind = self.curvature.kind
        tensors = {f"mean/{name}": tensor for name, tensor in self.mean.items()}
        for name, tensor in self.curvature.tensors().items():
            narrow = dtype is not None and tensor.dim() > 1 and "anchors/" not in name
            tensors[f"{kind}/{name}"] = tensor.to(dtype) if narrow else tensor
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        description = {"shapes": shapes, "kind": kind, "prior": self.prior, "provenance": self.provenance.as_json()}
        _storage.write(Path(folder), tensors, description)

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
        place = Path(folder)
        tensors, description = _storage.read(place)
        kind = description["kind"]
        if kind not in CURVATURES:
            raise LaloraError(
                f"'{place}' holds a curvature of kind '{kind}', which this lalora does not know: upgrade it"
            )
        provenance = Provenance.from_json(description["provenance"])
        shapes = {name: tuple(shape) for name, shape in description["shapes"].items()}
        try:
            parts = grouped(tensors)
            require_names(parts, (), ("mean", kind))
            mean = parts.get("mean", {})
            curvature = CURVATURES[kind].from_tensors(parts.get(kind, {}))
            require_consistent(mean, shapes, curvature, provenance)
        except LaloraError as error:
            raise LaloraError(f"'{place / description['tensors']}' is no curvature: {one_line(error)}") from error
        return cls(mean, shapes, curvature, provenance, float(description["prior"]) if prior is None else prior)

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
