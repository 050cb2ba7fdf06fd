"""A command that torchrun or accelerate started as several processes: only the main one prints."""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from lalora.errors import LaloraError, make_known_to_all

# A launcher ends all processes when the first one ends. The main one comes first: it has a line to say and a folder
# to leave in order.
_HEAD_START_S = 5.0
_LAST_PORT = 65535
_MOST_DIGITS = 10


def is_main() -> bool:
    """Tell whether this is the first or only process, before the processes have found each other."""
    rank = os.environ.get("RANK") or "0"
    return not _is_count(rank) or int(rank) == 0


@contextmanager
def silent_unless_main() -> Generator[None, None, None]:
    """Print nothing but in the main process, and fail after it."""
    if world_size() > 1:
        # DDP looks for parameters that a step left out, and warns where there are none; a mixture of experts has some.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if is_main():
        yield
        return
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            yield
    except SystemExit as end:
        if end.code:
            time.sleep(_HEAD_START_S)
        raise
    except Exception:
        time.sleep(_HEAD_START_S)
        raise


def world_size() -> int:
    """Count the processes that a launcher started; 1 without a launcher."""
    text = os.environ.get("WORLD_SIZE") or "1"
    return int(text) if _is_count(text) else 1


def check_environment() -> None:
    """Refuse launch variables that are no numbers, out of range, or missing."""
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT"):
        text = os.environ.get(name)
        if text and not _is_count(text):
            raise LaloraError(
                f"the environment says {name}={text[:40]!r}, which is no number: unset it, or use a launcher"
            )
    several, rank = world_size(), int(os.environ.get("RANK") or "0")
    if several < 1 or rank >= several:
        raise LaloraError(f"the environment says RANK={rank} of WORLD_SIZE={several}: ranks go from 0 to one below it")
    if several > 1:
        missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
        if missing:
            raise LaloraError(
                f"WORLD_SIZE={several} and no {missing[0]}: start the processes with torchrun or accelerate"
            )
        if int(os.environ["MASTER_PORT"]) > _LAST_PORT:
            raise LaloraError(f"MASTER_PORT={os.environ['MASTER_PORT']} is no port: they go to {_LAST_PORT}")


def _is_count(text: str) -> bool:
    return text.strip().isascii() and text.strip().isdecimal() and len(text.strip()) < _MOST_DIGITS


def launch_command() -> list[str]:
    """Build the words before the name of the command that start it as it was started."""
    launcher = ["accelerate", "launch", "--num_processes", str(world_size()), "-m"] if world_size() > 1 else []
    return [*launcher, "lalora"]


def check_command(command: str | None) -> None:
    """Refuse a command that would do the same work in every process."""
    if world_size() > 1 and command not in ("fit", "train"):
        refusal = LaloraError(
            f"`lalora {command}` is one process, not {world_size()}: start it without a launcher. The runs "
            "of a study are spread with --workers or --ray; `lalora train` does one run over several GPUs"
        )
        make_known_to_all(refusal)
        raise refusal
