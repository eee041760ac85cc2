"""Invalid arguments of every command are refused before torch is imported, and without a traceback.

One process for all of them, about two seconds.
"""

import json
import os
import subprocess
import sys

import pytest
from reference import write_folder

SCRIPT = """
import contextlib, io, json, os, sys, tempfile
from dsactl.cli.main import main, program_of
program_of([])  # every command is imported once; each is then tried in a child, which has no more than it imports
answers = []
for words in json.load(sys.stdin):
    with tempfile.TemporaryFile("w+") as told:
        child = os.fork()
        if not child:
            sys.argv, code = ["dsactl", *words], None
            with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()) as answer:
                try:
                    main()
                except SystemExit as end:
                    code = end.code
            loaded = [name for name in ("torch", "scipy", "matplotlib.pyplot", "ray") if name in sys.modules]
            json.dump([code, said.getvalue(), answer.getvalue(), loaded], told)
            told.flush()
            os._exit(0)
        os.waitpid(child, 0)
        told.seek(0)
        answers.append(json.load(told))
json.dump(answers, sys.stdout)
"""

REFUSED = [
    (("condens",), "No such command 'condens'"),
    (("condense",), "Missing dataset"),
    (("condense", "digits"), "Missing option --ipc N"),
    (("condense", "digit", "--ipc", "1"), "Did you mean 'digits'?"),
    (("condense", "digits", "--ipc", "0"), "--ipc: "),
    (("condense", "digits@1x2", "--ipc", "1"), "is not a view of a dataset"),
    (("condense", "./nowhere", "--ipc", "1"), "nowhere is not a folder."),
    (("condense", "digits", "--ipc", "1", "--image-size", "8"), "only for image folders"),
    (("condense", "digits", "--ipc", "1", "--method", "dsaa"), "Did you mean 'dsa'"),
    (("condense", "digits", "--ipc", "1", "--arch", "convnt"), "Did you mean 'convnet'?"),
    (("condense", "digits", "--ipc", "1", "--norm", "instanc"), "Unknown norm 'instanc'"),
    (("condense", "digits", "--ipc", "1", "--strategy", "rotat"), "Did you mean 'rotate'?"),
    (("condense", "digits", "--ipc", "1", "--scheme", "siames"), "Unknown scheme 'siames'."),
    (("condense", "digits", "--ipc", "1", "--distance", "our"), "Unknown distance 'our'."),
    (("condense", "digits", "--ipc", "1", "--device", "gpu"), "Unknown device 'gpu'."),
    (("condense", "digits", "--ipc", "1", "--precision", "half"), "--precision: "),
    (("condense", "digits", "--ipc", "1", "--name", "A B"), "is not a"),
    (("condense", "digits", "--ipc", "1", "--config", "nowhere.toml"), "Cannot read nowhere.toml"),
    (("condense", "digits", "--ipc", "1", "--option", "epochs"), "is not NAME=VALUE"),
    (("condense", "digits", "--ipc", "1", "--method", "herding", "--option", "epochs=0"), "must be at least 1"),
    (("condense", "digits", "--ipc", "1", "--method", "dd", "--option", "weights=some"), "must be random or fixed"),
    (
        ("condense", "digits", "--ipc", "1", "--method", "ld", "--norm", "batch"),
        "does not take networks with batch norm",
    ),
    (
        ("condense", "digits", "--ipc", "1", "--method", "random", "--iterations", "3"),
        "--iterations is not for method 'random'",
    ),
    (("evaluate", "nowhere"), "nowhere"),
    (("evaluate", "--networks", "0"), "must be at least 1"),
    (("evaluate", "--strategy", "rotat"), "Did you mean 'rotate'?"),
    (("evaluate", "--arch", "resnet"), "Did you mean 'resnet18'"),
    (("evaluate", "--precision", "half"), "Unknown precision 'half'."),
    (("evaluate", "--device", "cuda:x"), "Unknown device 'cuda:x'."),
    (("evaluate", "--method", "whole"), "Missing dataset."),
    (("evaluate", "--method", "whole", "digit"), "Did you mean 'digits'?"),
    (("evaluate", "--method", "dsa", "digits"), "evaluate only supports --method whole, not dsa."),
    (("evaluate", "--seed", "-1"), "--seed"),
    (("evaluate", "--method", "whole", "digits", "--split-seed", "-1"), "--split-seed must be at least 0"),
    (("import", "x.pt", "--dataset", "digits", "--split-seed", "-1"), "--split-seed must be at least 0"),
    (("nas", "digits", "--seed", "-1"), "--seed"),
    (("condense", "", "--ipc", "1"), "The argument after condense is empty."),
    (("evaluate", "--data", ""), "The argument after --data is empty."),
    (("evaluate", "--data="), "The argument --data= is empty."),
    (("import", ""), "The argument after import is empty."),
    (("evaluate", "--data", "no/where"), "no/where is not a folder."),
    (("evaluate", "--image-size", "8"), "Without --data, --image-size would have no effect."),
    (("evaluate", "--gpu-share", "2"), "a share of a GPU above 0 and at most 1"),
    (("evaluate", "--ray", "nonsense"), "nonsense is not an address of a cluster."),
    (("evaluate", "--device", "cuda:01"), "Unknown device 'cuda:01'."),
    (("bench", "--dataset", "cifar"), "Did you mean 'cifar10'"),
    (("bench", "--precision", "half"), "Unknown precision 'half'."),
    (("transfer", "digit"), "Did you mean 'digits'?"),
    (("transfer", "digits", "--archs", "conv"), "Did you mean 'convnet'?"),
    (("transfer", "digits", "--method", "random"), "uses no network"),
    (("transfer", "digits", "--epochs", "0"), "--epochs must be at least 1"),
    (("ablate", "shemes", "digits"), "Did you mean 'schemes'"),
    (("ablate", "ipc", "digits", "--methods", "dsa,herdin"), "Did you mean 'herding'"),
    (("ablate", "ipc", "digit"), "Did you mean 'digits'?"),
    (("ablate", "schemes", "digits", "--kinds", "rotat"), "Did you mean 'rotate'?"),
    (("ablate", "gradients", "digits", "--arch", "resnet18bn"), "not measured for networks with batch norm"),
    (("continual", "--tasks", "digits,mnis"), "Did you mean 'mnist'"),
    (("continual", "--tasks", "digits"), "A sequence needs two or more tasks"),
    (("continual", "--tasks", "digits,cifar100"), "differ in their number of classes"),
    (("continual", "--tasks", "digits", "--splits", "2", "--memory", "herdin"), "Did you mean 'herding'"),
    (("continual", "--tasks", "digits,mnist", "--splits", "2"), "--splits takes one dataset"),
    (("continual", "--tasks", "digits", "--splits", "3"), "cannot be split evenly"),
    (("continual", "--tasks", "digits", "--splits", "5", "--lr", "0"), "--lr must be above 0"),
    (("continual", "--precision", "half"), "Unknown precision 'half'."),
    (("nas", "digit"), "Did you mean 'digits'?"),
    (("nas", "digits", "--proxy", "rando"), "Did you mean 'random'?"),
    (("nas", "digits", "--proxy", "nowhere"), "nowhere"),
    (("nas", "digits", "--where", "depht=3"), "depht"),
    (("nas", "digits", "--where", "depth=1,depth=2"), "No network in the search space satisfies depth=1,depth=2"),
    (("reproduce", "table9"), "Unknown table 'table9'"),
    (("reproduce", "table1", "--only", "mnis"), "mnis"),
    (("reproduce", "figure6", "--only", "nois"), "nois"),
    (("show", "nowhere"), "nowhere"),
    (("diff", "nowhere", "bundled/mnist-dsa-convnet-ipc1"), "nowhere"),
    (("tag", "nowhere", "best"), "nowhere"),
    (("rm", "nowhere"), "nowhere"),
    (("verify", "nowhere"), "nowhere"),
    (("export", "nowhere"), "nowhere"),
    (("export", "bundled/mnist-dsa-convnet-ipc1", "--format", "jpg"), "jpg"),
    (("export", "bundled/mnist-dsa-convnet-ipc1", "-f", "npz", "-o", "s.pt"), "s.pt has the extension of pt"),
    (("export", "bundled/mnist-dsa-convnet-ipc1", "-f", "folder", "-o", "s.PNG"), "s.PNG has the extension of png"),
    (("import", "nowhere.pt"), "nowhere.pt"),
    (("import", ".", "--space", "pixel"), "Did you mean 'pixels'?"),
    (("import", ".", "--dataset", "digit"), "Did you mean 'digits'?"),
    (("push", "nowhere", "user/repo"), "nowhere"),
    (("push", "bundled/mnist-dsa-convnet-ipc1", "no address"), "is not a repository name"),
    (("pull", "no address"), "no address"),
    (("ls", "--sort", "accurac"), "Did you mean 'accuracy'?"),
    (("ls", "--dataset", "digit", "--reverses"), "No such option"),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], list[object]]:
    folder = tmp_path_factory.mktemp("refusals")
    write_folder(folder / "pictures")
    own = {"DSACTL_HOME": str(folder / "home"), "DSACTL_DATA": str(folder / "data"), "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps([words for words, _ in REFUSED]),
        env={**os.environ, **own},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert not (folder / "home").exists(), "nothing is written"
    return dict(zip([words for words, _ in REFUSED], json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(
    ("words", "said"), REFUSED, ids=lambda value: "_".join(value) if isinstance(value, tuple) else ""
)
def test_invalid_arguments_are_refused_before_torch_is_imported(
    answers: dict[tuple[str, ...], list[object]], words: tuple[str, ...], said: str
) -> None:
    code, error, answer, loaded = answers[words]
    assert code in (1, 2), error
    assert said in str(error)
    assert "Traceback" not in str(error)
    assert not answer
    assert not loaded
