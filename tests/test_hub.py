"""What the hub's client raises, in one line each that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from huggingface_hub import errors

from lalora import LaloraError, Laplace, hub
from lalora.assets import fine_tuned, load_model
from lalora.domains import load_domain
from lalora.hub import id_in_cache, is_id, reason, upload


def answer(kind: type[Exception], status: int) -> Exception:
    """Make an error of the hub as its client does."""
    request = httpx2.Request("GET", "https://huggingface.co/api/models/a/b")
    made: Any = kind
    error: Exception = made("told", response=httpx2.Response(status, request=request))
    return error


def not_fetched() -> Exception:
    error = errors.LocalEntryNotFoundError("An error happened while trying to locate the file on the Hub")
    error.__cause__ = httpx2.ConnectError("no route to host")
    return error


MET = {
    "offline": (errors.OfflineModeIsEnabled("offline"), "HF_HUB_OFFLINE is set"),
    "no network": (httpx2.ConnectError("no route"), r"cannot be reached \(no route\): check the network"),
    "slow network": (httpx2.ReadTimeout("timed out"), "cannot be reached"),
    "of the system": (ConnectionError("refused"), r"cannot be reached \(refused\)"),
    "not in the cache": (errors.LocalEntryNotFoundError("no"), "it was not fetched before: check the network"),
    "wrapped": (not_fetched(), "cannot be reached .no route to host"),
    "no repository": (answer(errors.RepositoryNotFoundError, 404), "no such repository, or it is private"),
    "gated": (answer(errors.GatedRepoError, 403), "gives access on request"),
    "no revision": (answer(errors.RevisionNotFoundError, 404), "no such revision"),
    "no token": (errors.LocalTokenNotFoundError("none"), "you are not logged in: `hf auth login`"),
    "wrong token": (answer(errors.HfHubHTTPError, 401), "knows no login with this token"),
    "not mine": (answer(errors.HfHubHTTPError, 403), "may not do that: check the name before the slash"),
    "no id": (errors.HFValidationError("Repo id must be"), "the form is user/name"),
    "another": (RuntimeError("one\ntwo"), "one two"),
}  # fmt: skip


@pytest.mark.parametrize("met", MET)
def test_each_error_has_a_line(met: str) -> None:
    error, told = MET[met]
    with pytest.raises(LaloraError, match=f"cannot push to 'a/b' on the Hugging Face hub: .*{told}") as caught:
        raise_in_upload(error)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(reason(error))


def raise_in_upload(error: Exception) -> None:
    class Api:
        def __init__(self, token: str | None) -> None:
            raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub, "HfApi", Api)
        upload(Path(), "a/b", "message")


WAYS: dict[str, Callable[[], object]] = {
    "a model": lambda: load_model("lalora-tests/nothing", torch.float32),
    "an adapter": lambda: fine_tuned("lalora-tests/nothing"),
    "a Laplace": lambda: Laplace.from_hub("lalora-tests/nothing"),
    "a data set": lambda: load_domain("gsm8k", "lalora-tests/nothing"),
    "an upload": lambda: upload(Path(), "lalora-tests/nothing", "message"),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_the_hub_without_a_network(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(LaloraError, match="lalora-tests/nothing") as caught:
        WAYS[way]()
    told = str(caught.value)
    assert "\n" not in told
    assert "HF_HUB_OFFLINE" in told or "not fetched before" in told


def test_what_an_id_is() -> None:
    assert is_id("user/name")
    assert not any(
        map(is_id, ("name", "./name", "a/b/c", "~/b", "/b", "a/", "a b/c", "C:\\a/b", "a/b\nlicense: c", "é/b", ""))
    )


def test_the_hubs_cache_tells_id_and_revision() -> None:
    place = Path("/home/me/.cache/huggingface/hub/models--user--my--name/snapshots/0a1b")
    assert id_in_cache(place) == ("user/my--name", "0a1b")
    assert id_in_cache(Path("/home/me/models/mine")) is None
