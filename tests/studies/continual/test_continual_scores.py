"""What is said of runs: means, forgetting, and the paper's figures."""

import json
from dataclasses import replace

from dsactl.data.load import load_dataset
from dsactl.networks.catalogue import NetworkSpec
from dsactl.studies.continual.learner import Phase, Settings
from dsactl.studies.continual.memory import Memory
from dsactl.studies.continual.prepared import PreparedStudy
from dsactl.studies.continual.results import Entry, lines_of, paper_mean
from dsactl.studies.continual.run import CONDENSED
from dsactl.studies.continual.scores import forgetting, means
from dsactl.studies.continual.tasks import Task

SMALL = Settings(NetworkSpec(width=16), ("crop", "scale"), Phase(40, 0.02), Phase(40, 0.01))


def test_scores_by_hand() -> None:
    rows = [[90.0], [60.0, 80.0], [75.0, 50.0, 70.0]]
    assert means(rows) == [90.0, 70.0, 65.0]
    assert forgetting(rows) == [None, 30.0, (15.0 + 30.0) / 2]
    entries = [
        Entry("dsa", False, 0, ((90.0,), (60.0, 80.0)), (), 1.0, "cpu"),
        Entry("dsa", False, 1, ((94.0,), (70.0, 90.0)), (), 1.0, "cpu"),
    ]
    (line,) = lines_of(entries)
    assert line.means == ((92.0, 2.0), (75.0, 5.0))
    assert (line.tasks, line.forgetting, line.n) == (((65.0, 5.0), (85.0, 5.0)), (27.0, 3.0), 2)
    assert Entry.from_dict(json.loads(json.dumps(entries[0].to_dict()))) == entries[0]
    assert paper_mean(line) == 94.4
    assert paper_mean(replace(line, distilled=True)) is None
    assert paper_mean(replace(line, memory="random")) is None


def test_the_papers_figures_stand_beside_its_own_study_alone() -> None:
    seen = load_dataset("digits@3x32x32@classes0-1")
    tasks = [Task(name, seen, 0, f"{name}@3x32x32", None) for name in ("svhn", "mnist", "usps")]
    study = PreparedStudy(tasks, [Memory("dsa", 10)], (False,), 1, SMALL)
    assert study.is_papers
    small = [replace(task, dataset=load_dataset("digits@3x16x16@classes0-1")) for task in tasks]
    for change in (
        {"tasks": tasks[::-1]},
        {"tasks": small},
        {"tasks": [replace(tasks[0], image_size=32), *tasks[1:]]},
        {"memories": [Memory("dsa", 5)]},
        {"memories": [Memory("dsa", 10, 100)]},
        {"new_data": CONDENSED},
    ):
        assert not replace(study, **change).is_papers, change  # type: ignore[arg-type]
