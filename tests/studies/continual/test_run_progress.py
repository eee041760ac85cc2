"""What runs in this process tell the meter of the whole study."""

import pytest
from sessions import Told, session

from dsactl.engine.progress import Progress
from dsactl.errors import RunError
from dsactl.networks.catalogue import NetworkSpec
from dsactl.studies.continual.learner import Phase, Settings
from dsactl.studies.continual.memory import Memory
from dsactl.studies.continual.prepared import PreparedStudy
from dsactl.studies.continual.run import ContinualRun, Runner
from dsactl.studies.continual.run_all import run_all
from dsactl.studies.continual.tasks import splits_of


def test_updates_failures_and_remarks_of_runs_reach_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: Runner, run: ContinualRun, progress: Progress) -> None:
        progress.update(0, 2, "first")
        progress.update(2, 2, "second")
        progress.remark(f"{run.repeat}")
        progress.fail("It failed.", "Try again.")
        raise RunError("no result")

    monkeypatch.setattr(Runner, "run", run)
    settings = Settings(NetworkSpec(width=16), ("crop",), Phase(6, 0.02), Phase(4, 0.01))
    study = PreparedStudy(splits_of("digits@classes0-3", 2, None), [Memory("random", 1)], (False,), 2, settings)
    told = Told()
    assert all(isinstance(outcome, RunError) for _, outcome in run_all(study, session(progress=told)))
    assert told.remarks == ["0", "1"]
    assert told.failures == 2 * [("It failed.", "Try again.")]
    (_, total, *_), *_ = told.updates
    words = [f"{each.in_words}: {stage}" for each in study.runs for stage in ("first", "second")]
    assert [(done, doing) for done, _, doing, _ in told.updates] == list(
        zip((0, total / 2, total / 2, total), words, strict=True)
    )
