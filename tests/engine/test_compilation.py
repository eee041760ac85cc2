"""Where compiled code is kept."""

import pytest

from dsactl.engine import compilation


def test_each_kind_of_processor_has_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    here = compilation.code_folder()
    assert compilation.code_folder() == here
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "another")
    assert compilation.code_folder() != here
    monkeypatch.undo()
    monkeypatch.setattr(compilation, "capabilities", lambda: {"avx9000": True})
    assert compilation.code_folder() != here
