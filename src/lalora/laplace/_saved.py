"""A Laplace as files: on this machine, and on the Hugging Face hub."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from lalora.curvature import CURVATURES, Curvature, grouped, require_names
from lalora.errors import LaloraError, one_line
from lalora.hub import is_id
from lalora.laplace import _hub, _storage
from lalora.laplace._consistent import require_consistent
from lalora.laplace._limits import require_prior
from lalora.laplace._provenance import Provenance
from lalora.laplace._size import Size, has_factors, rank_within, size_of, stored, truncate

MAX_SHARE = 0.15
"""What the published Laplace of a base model takes at most of its layers' weights; docs/curvatures.md has the price."""


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
        rows = ", ".join(f"{data.name} ({data.rows:,} rows)" for data in how.datasets)
        tokens = sum(data.tokens for data in how.datasets)
        return (
            f"Laplace of {of}: {how.base_model}, {how.fit.curvature} of {len(how.fingerprint['layers'])} layers, "
            f"prior {self.prior:g}\n  {self.size()}; fitted on {rows}: {tokens:,} tokens"
        )

    def size(self, dtype: torch.dtype | None = None) -> Size:
        """Tell how large its file is, also beside the model's weights, and what truncation left out.

        Args:
            dtype: As in `save`.

        Returns:
            Bytes, layers, eigenvectors and shares; printed, a line.

        Raises:
            LaloraError: If the dtype is none.
        """
        kept = stored(self.mean, self.curvature, dtype).values()
        nbytes = sum(tensor.numel() * (other or tensor.dtype).itemsize for tensor, other in kept)
        return size_of(self.curvature, self.shapes, nbytes)

    def truncated(
        self, factor_rank: int | None = None, *, max_share: float | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Leave out the eigenvectors of small eigenvalues, for a smaller file and a cheaper penalty.

        Args:
            factor_rank: Most eigenvectors of a Kronecker factor to keep.
            max_share: Most bytes of the file, over the bytes of the layers' weights in bfloat16, such as 0.15: every
                factor keeps the same number of eigenvectors, as many as fit.
            dtype: That the file is to be saved in, where `max_share` counts its bytes.

        Returns:
            A Laplace with the same mean; `size` says what was left out.

        Raises:
            LaloraError: If both are given or neither, a value is out of range, or the curvature has no factors.
        """
        if (factor_rank is None) == (max_share is None):
            raise LaloraError("give one of factor_rank and max_share")
        if not has_factors(self.curvature):
            raise LaloraError(f"a curvature of kind '{self.provenance.fit.curvature}' has no eigenvectors to leave out")
        if max_share is not None:
            if not (isinstance(max_share, int | float) and 0 < max_share < math.inf):
                raise LaloraError(f"max_share must be a number above 0, not {max_share!r}")
            now = self.size(dtype)
            if now.share <= max_share:
                return self
            factor_rank = rank_within(self.curvature, max_share * now.weights, now.nbytes, dtype)
        assert factor_rank is not None
        curvature = truncate(self.curvature, factor_rank)
        return type(self)(self.mean, self.shapes, curvature, self.provenance, self.prior)

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write a folder with `laplace.json` and `laplace-<hash>.safetensors`.

        Args:
            folder: Made where missing.
            dtype: Type of eigenvectors and diagonals in the file, such as `torch.bfloat16`, which halves it; None for
                the one they have. Eigenvalues and the adapter's start are kept as they are.

        Raises:
            LaloraError: If it cannot be written, or the dtype is none.
        """
        kind = self.curvature.kind
        tensors = {
            name: tensor if kept is None else tensor.to(kept)
            for name, (tensor, kept) in stored(self.mean, self.curvature, dtype).items()
        }
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
        self,
        repo_id: str,
        licence: str | None = None,
        *,
        base_model: str | None = None,
        max_share: float | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> str:
        """Upload the two files and a model card to the Hugging Face hub.

        The Laplace of a base model is uploaded in bfloat16, and truncated to 15 % of its layers' weights; that of an
        adapter as it is. Say otherwise with `dtype` and `max_share`.

        Args:
            repo_id: `user/name`.
            licence: The hub's name of the licence, which should fit that of the base model and the source data; None
                for a card without one.
            base_model: Id of the base model on the hub, where it was loaded from a folder.
            max_share: As in `truncated`; `math.inf` for all of it.
            dtype: As in `save`.
            **options: Passed to `huggingface_hub.HfApi.create_repo`, such as `private=True` or `token=…`.

        Returns:
            Address of the commit.

        Raises:
            LaloraError: If the hub cannot be reached or refuses, `base_model` is no id, or `max_share` out of range.
        """
        told = self.for_publishing(base_model, max_share, dtype)
        kind = _published_dtype(told, dtype)
        save = partial(told.save, dtype=kind)
        return _hub.push(save, told.provenance, told.size(kind), repo_id, licence, **options)

    def for_publishing(
        self, base_model: str | None = None, max_share: float | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Make what `push_to_hub` uploads, to look at it before.

        Args:
            base_model: As in `push_to_hub`.
            max_share: As in `push_to_hub`.
            dtype: As in `push_to_hub`.

        Returns:
            This Laplace truncated, with the id of its base model.

        Raises:
            LaloraError: As `push_to_hub`.
        """
        if base_model is not None and not is_id(base_model):
            raise LaloraError(f"base_model must be an id on the Hugging Face hub, user/name, not '{base_model}'")
        how = self.provenance
        if base_model is not None:
            how = replace(how, base_model=base_model, base_revision=None)
        made = type(self)(self.mean, self.shapes, self.curvature, how, self.prior)
        kind = _published_dtype(self, dtype)
        if max_share is not None:
            return made if max_share == math.inf else made.truncated(max_share=max_share, dtype=kind)
        if self.shapes or not has_factors(self.curvature):
            return made
        least = made.truncated(1)
        return least if least.size(kind).share > MAX_SHARE else made.truncated(max_share=MAX_SHARE, dtype=kind)

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


def _published_dtype(laplace: Saved, dtype: torch.dtype | None) -> torch.dtype | None:
    return torch.bfloat16 if dtype is None and not laplace.shapes else dtype
