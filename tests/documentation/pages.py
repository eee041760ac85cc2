"""What is in a page: links, anchors, and commands."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

_COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )*(?:torchrun .*-m |ray job submit .*-- )?dsactl +(\S.*)")
"""A command line, with variables and a program that starts it before it."""


def text_and_code(page: Path) -> tuple[str, str]:
    """Divide a page into its text and its code, which is fenced, or indented by four columns after an empty line."""
    text: list[str] = []
    code: list[str] = []
    fenced = indented = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if re.match(r" *```", line):
            fenced = not fenced
        elif fenced:
            code.append(line.strip())
        elif line.startswith("    ") and (indented or not text or not text[-1].strip()):
            indented = True
            code.append(line.strip())
        else:
            indented = False
            text.append(line)
    return "\n".join(text), "\n".join(code)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", text_and_code(page)[0], re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(anchor if anchor not in found else f"{anchor}-1")
    return found


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and pictures."""
    text = re.sub(r"`[^`\n]*`", "", text_and_code(page)[0])
    return re.findall(r"\]\(([^()\s]+)\)", text)


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words after `dsactl` of each command line in a page's code, up to a pipe or redirection."""
    for line in text_and_code(page)[1].replace("\\\n", " ").splitlines():
        found = _COMMAND.match(line)
        if found and "…" not in line.partition("  #")[0]:
            words = shlex.split(found[1], comments=True)
            ends = [place for place, word in enumerate(words) if word in ("|", ">", "&&", "&")]
            yield words[: min(ends, default=len(words))]


def python(page: Path) -> list[str]:
    """Return the code of a page that is fenced as Python."""
    blocks = re.findall(r"^( *)```python\n(.*?)^ *```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(code) for _, code in blocks]
