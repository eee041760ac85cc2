"""Pages from Jinja2 templates: all text is escaped, and a policy in the page forbids it to fetch anything.

The style sheet and the script are parts of the page, and the policy names their digests: a script that got into the
page in another way would not run.
"""

import base64
import functools
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dsactl import __version__
from dsactl.text.formatting import bytes_in_words

_TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, *, script: str = "", **values: Any) -> bytes:
    """Return a page.

    Args:
        template: name of its file.
        script: name of the file of its script; "" for none.
        values: for the template.
    """
    style, code = _read("page.css"), _read(script) if script else ""
    policy = (
        f"default-src 'none'; img-src data:; style-src {_source(style)}; script-src {_source(code)}; base-uri 'none'"
    )
    known = {"style": style, "script": code, "policy": f"{policy}; form-action 'none'"}
    known |= {"version": __version__, "written": datetime.now(UTC).date().isoformat()}
    return _environment().get_template(template).render(**known, **values).encode()


def _source(code: str) -> str:
    """Return the source of a style sheet or script in a content security policy."""
    if not code:
        return "'none'"
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


@functools.cache
def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8").strip()


@functools.cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["bytes_in_words"] = bytes_in_words
    return made
