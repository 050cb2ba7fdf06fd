"""The harness's templates in Jinja's sandbox: one of a file of somebody else's cannot reach Python."""

from collections.abc import Generator, MutableMapping
from contextlib import contextmanager
from typing import Any

from lalora.extras import named_if_missing


@contextmanager
def in_sandbox() -> Generator[None, None, None]:
    """Let the harness fill in templates in Jinja's sandbox; its own environment lets a template call anything."""
    with named_if_missing():
        from jinja2 import StrictUndefined, Template
        from jinja2.sandbox import SandboxedEnvironment
        from lm_eval import utils

    class Sandbox(SandboxedEnvironment):
        """Compiles each template once; the harness asks for it anew for every row."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self._compiled = dict[str, Template]()

        def from_string(
            self,
            source: Any,
            globals: MutableMapping[str, Any] | None = None,  # as there
            template_class: type[Template] | None = None,
        ) -> Template:
            if source not in self._compiled:
                self._compiled[source] = super().from_string(source, globals, template_class)
            return self._compiled[source]

    usual = utils.env
    utils.env = Sandbox(undefined=StrictUndefined, keep_trailing_newline=usual.keep_trailing_newline)
    utils.env.filters |= {name: kept for name, kept in usual.filters.items() if name not in utils.env.filters}
    try:
        yield
    finally:
        utils.env = usual
