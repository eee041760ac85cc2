"""What the store survives: kills, crowds, full disks, folders it may not write to."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from samples import put

import registry
from registry.upkeep import prune, verify

TESTS = Path(__file__).resolve().parents[1]
WORKER = TESTS / "store_worker.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
Tell = Callable[[str], None]
LONG = pytest.mark.long


def worker(home: Path, *task: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), str(home), *map(str, task)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)


def killed(nurse: subprocess.Popen[str], seed: int, operations: int, delay: float) -> list[list[Any]]:
    """What a process has said that was killed so many seconds after it began so many operations, one at least.

    However fast the machine is, all kinds of operations are cut off.
    """
    assert nurse.stdin is not None
    assert nurse.stdout is not None
    nurse.stdin.write(f"{seed} 1000000\n")
    nurse.stdin.flush()
    lines = map(json.loads, nurse.stdout)
    _, process = next(lines)
    said = []
    while sum(event[0] == "begin" for event in said) < operations:
        said.append(next(lines))
    time.sleep(delay)
    os.kill(process, signal.SIGKILL)
    return [*said, *itertools.takewhile(lambda event: event != ["end"], lines)]


class Model:
    """What must be in a store after some events; the last operation may have been cut off."""

    def __init__(self) -> None:
        self.sets: dict[tuple[str, int], str] = {}
        self.tags: dict[tuple[str, str], int] = {}
        self.unsure: list[Any] = []

    def apply(self, happened: list[list[Any]]) -> None:
        self.unsure = []
        for event in happened:
            kind = event[1]
            if event[0] == "begin":
                self.unsure = event[1:]
            elif event[0] == "refused":
                self.unsure = []
            else:
                self.unsure = []
                if kind == "put":
                    self.sets[event[2], event[4]] = event[5]
                elif kind == "remove":
                    self.sets.pop((event[2], event[3]), None)
                    self.tags = {key: at for key, at in self.tags.items() if key[0] != event[2] or at != event[3]}
                elif kind == "tag":
                    self.tags[event[2], event[4]] = event[3]

    def check(self, store: registry.Store) -> None:
        """Hold the store against the model, and take over what the operation that was cut off has done."""
        found = {(str(each.name), each.version): each.digest for each in store.sets()}
        tags = {(str(name), tag): at for name in store.names() for tag, at in store.tags(name).items()}
        kind, *about = self.unsure or [""]
        lost, more = self.sets.keys() - found.keys(), found.keys() - self.sets.keys()
        assert lost <= ({(about[0], about[1])} if kind == "remove" else set()), "a set was lost"
        assert len(more) <= (kind == "put"), "a set that nobody stored"
        assert all(found[key] == digest for key, digest in self.sets.items() if key in found)
        # A version's tags go before it does, so both or the tags alone may be gone.
        may_go = {key for key, at in self.tags.items() if kind == "remove" and (key[0], at) == (about[0], about[1])}
        may_move = {(about[0], about[2])} if kind == "tag" else set()
        for key in self.tags.keys() | tags.keys():
            assert tags.get(key) == self.tags.get(key) or key in may_go | may_move, f"the tag {key} is wrong"
        self.sets, self.tags = found, tags


@pytest.mark.slow
@pytest.mark.parametrize("kills", [200, pytest.param(2000, marks=LONG)])
def test_killed_at_any_moment_the_store_is_whole(tmp_path: Path, kills: int, tell: Tell) -> None:
    store, model, source = registry.Store(tmp_path), Model(), random.Random(1)
    left = pruned = operations = 0
    cut = Counter[str]()
    nurse = worker(tmp_path)
    for kill in range(kills):
        # So that there is something to prune: a file that no set names.
        store.layout.blobs.mkdir(exist_ok=True)
        (store.layout.blobs / f"{kill:064x}.safetensors").write_bytes(b"stray")
        happened = killed(nurse, kill, source.randint(1, 2), source.uniform(0, 0.01))
        assert not [event for event in happened if event[0] == "failed"], happened[-1]
        operations += sum(event[0] == "done" for event in happened)
        pruned += sum(event[2] for event in happened if event[:2] == ["done", "prune"])
        model.apply(happened)
        cut[model.unsure[0] if model.unsure else "between"] += 1
        findings = verify(store)
        assert findings.faults == []
        assert sorted(findings.checked) == sorted(each.reference for each in store.sets())
        model.check(store)
        left = max(left, len(findings.leftovers))
    nurse.communicate()
    tell(f"{kills} kills, {operations} operations, cut off in {dict(cut)}, {pruned} files pruned by those")
    assert sum(cut.values()) == kills
    assert {"put", "tag", "remove", "prune", "evaluate"} <= set(cut)
    assert left > 0
    assert pruned > 0
    prune(store)
    findings = verify(store)
    assert (findings.faults, findings.leftovers) == ([], [])
    assert findings.checked == sorted(each.reference for each in store.sets())


@pytest.mark.slow
@pytest.mark.parametrize("operations", [500, pytest.param(5000, marks=LONG)])
def test_a_crowd_of_processes_gets_no_error_but_the_right_one(tmp_path: Path, operations: int, tell: Tell) -> None:
    crowd = 8
    each = -(-operations // crowd)
    processes = [worker(tmp_path, seed, each) for seed in range(crowd)]
    outputs = [process.communicate(timeout=1200)[0] for process in processes]
    happened = [json.loads(line) for output in outputs for line in output.splitlines()]
    assert [process.returncode for process in processes] == [0] * crowd
    done = [event for event in happened if event[0] == "done"]
    refused = [event for event in happened if event[0] == "refused"]
    assert len(done) + len(refused) == each * crowd >= operations
    given: dict[str, dict[int, str]] = {}
    for _, kind, *about in done:
        if kind == "put":
            name, _, version, digest = about
            assert given.setdefault(name, {}).setdefault(version, digest) == digest, "one number, two contents"
    removed = {(about[0], about[1]) for _, kind, *about in done if kind == "remove"}
    store = registry.Store(tmp_path)
    for name, versions in given.items():
        assert sorted(versions) == list(range(1, len(versions) + 1)), "the numbers have a gap"
        left = [version for version in versions if (name, version) not in removed]
        assert store.versions(registry.parse_name(name)) == sorted(left)
    findings = verify(store)
    assert (findings.faults, findings.leftovers) == ([], [])
    tell(f"{len(done)} operations of {crowd} processes, {len(refused)} refused since another was faster")


LIMITED = """
import resource, sys
from pathlib import Path
from samples import put
import registry
store = registry.Store(Path(sys.argv[1]))
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    put(store, 1)
except registry.StoreError as error:
    sys.exit(str(error))
"""


def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path, tell: Tell) -> None:
    """Files may grow to so many bytes and no further, as on a disk with no more room."""
    store = registry.Store(tmp_path)
    first = put(store, 0)
    outcomes = Counter[bool]()
    for limit in (0, 10, 100, 500, 900, first.size - 1, first.size + 100, 10**6):
        command = [sys.executable, "-c", LIMITED, str(tmp_path), str(limit)]
        ended = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
        outcomes[ended.returncode == 0] += 1
        if ended.returncode:
            assert "File too large" in ended.stderr
            assert "Free space or set `home`" in ended.stderr
            assert "Traceback" not in ended.stderr
            assert [stored.reference for stored in store.sets()] == [first.reference]
        findings = verify(store)
        assert findings.faults == []
        prune(store)
        if ended.returncode == 0:
            store.remove([store.newest().place])
    assert outcomes[False] >= 5
    assert outcomes[True] >= 1
    tell(f"{outcomes[False]} times full, {outcomes[True]} times not")


@pytest.mark.usefixtures("open_to_all")
def test_a_store_that_may_only_be_read(tmp_path: Path) -> None:
    """A child that is not root tries; root may write everywhere."""
    store = registry.Store(tmp_path / "store")
    stored = put(store)
    (store.home / "lock").chmod(0o444)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        said: list[str] = []
        try:
            os.setuid(65534)
            said.append(store.find(registry.parse_reference(stored.reference)).digest)
            said.append(str(len(store.entries()[0])))
            said.append(",".join(sorted(store.tensors(stored))))
            said.append(str(len(verify(store).faults)))
            for attempt in (
                lambda: put(store, 1),
                lambda: store.tag(stored, "x"),
                lambda: store.remove([stored.place]),
            ):
                try:
                    attempt()
                    said.append("written")
                except registry.StoreError as error:
                    said.append(str(error))
        finally:
            os.write(write_end, json.dumps(said).encode())
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        said = json.loads(pipe.read())
    os.waitpid(child, 0)
    assert said[:4] == [stored.digest, "1", "images,labels", "0"]
    assert len(said) == 7
    for message in said[4:]:
        assert "Permission denied" in message
        assert "Set `home` to a folder that you can write to" in message
    assert [each.reference for each in store.sets()] == [stored.reference]


def test_a_lock_that_another_process_holds_is_waited_for_and_then_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import registry.store as module

    store = registry.Store(tmp_path)
    put(store)
    monkeypatch.setattr(module, "_LOCK_TIMEOUT_SECONDS", 0.3)
    hold = "import sys, time, registry\nfrom pathlib import Path\n"
    hold += "with registry.Store(Path(sys.argv[1])).writing():\n    print('held', flush=True)\n    time.sleep(60)"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=TESTS.parent
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(registry.StoreError, match="Another process has been writing"):
            put(store, 1)
    finally:
        holder.kill()
        holder.communicate()
    assert put(store, 1).version == 2, "a dead process holds nothing"
