"""A process that stores, tags, removes and prunes at random, and says so before and after each of its operations.

    python store_worker.py HOME SEED OPERATIONS
    python store_worker.py HOME                    for each line "SEED OPERATIONS" of its input, one after the other

Each line on the standard output is one event as JSON, flushed: ["begin", …], ["done", …] or ["refused", …]; and in the
second form, where each line is worked on by a process of its own, ["process", PID] before and ["end"] after them.
"""

import json
import os
import random
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from samples import put

import registry
from registry.upkeep import prune

NAMES = tuple(map(registry.parse_name, ("a", "b", "lab/c")))
TAGS = ("best", "paper")


def say(*event: Any) -> None:
    """One write, so that a kill cuts no line in two."""
    os.write(1, (json.dumps(event) + "\n").encode())


def operate(store: registry.Store, source: random.Random, contents: int) -> None:
    """One operation on a random name."""
    name = source.choice(NAMES)
    kind = source.choice(("put", "put", "put", "tag", "remove", "evaluate", "prune"))
    if kind == "put":
        # Contents are few, so that some are stored twice, or again after they were removed.
        content = source.randrange(contents)
        say("begin", "put", str(name), content)
        stored = put(store, content, name)
        say("done", "put", str(name), content, stored.version, stored.digest)
    elif kind == "prune":
        say("begin", "prune")
        say("done", "prune", len(prune(store)))
    else:
        versions = store.versions(name)
        stored = store.read(name, source.choice(versions) if versions else 1)
        actions: dict[str, Callable[[], object]] = {
            "tag": lambda: store.tag(stored, tag),
            "remove": lambda: store.remove([stored.place]),
            "evaluate": lambda: store.add_evaluation(stored.digest, {"mean": source.random()}),
        }
        tag = source.choice(TAGS)
        say("begin", kind, str(name), stored.version, tag)
        actions[kind]()
        say("done", kind, str(name), stored.version, tag)


def work(store: registry.Store, seed: int, operations: int) -> None:
    """Operate until done, or killed."""
    source = random.Random(seed)
    for _ in range(operations):
        try:
            operate(store, source, contents=10 * operations)
        except registry.NotFoundError as error:  # another process removed it: the one right error
            say("refused", str(error))


def nurse(store: registry.Store) -> None:
    """A process for every line: they start in a moment, for everything is imported."""
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            say("process", os.getpid())
            try:
                work(store, *map(int, line.split()))
            except BaseException:
                say("failed", traceback.format_exc())
            finally:
                os._exit(0)
        os.waitpid(process, 0)
        say("end")


if __name__ == "__main__":
    home, *task = sys.argv[1:]
    if task:
        work(registry.Store(Path(home)), *map(int, task))
    else:
        nurse(registry.Store(Path(home)))
