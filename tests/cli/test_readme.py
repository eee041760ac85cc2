"""The Python code of the README runs."""

import re
from pathlib import Path

import pytest

import dsactl

README = Path(__file__).parents[2] / "README.md"


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert "epochs=1000" in code
    dsactl.condense("digits", ipc=1, iterations=2, width=8, name="digits-dsa-convnet-ipc1")
    capsys.readouterr()
    exec(compile(code.replace("epochs=1000", "epochs=10"), str(README), "exec"), {})
    assert re.fullmatch(r"\d+\.\d% accuracy after training on 10 images\n", capsys.readouterr().out)
