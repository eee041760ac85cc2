from dataclasses import replace
from itertools import combinations, pairwise

import pytest
import torch
from compilers import needs_compiler, needs_torch_compile
from reference import slow_condense, small_dataset

from dsactl.augmentation.strategy import SCHEMES
from dsactl.engine.compilation import can_compile
from dsactl.engine.device import compute_reproducibly
from dsactl.engine.mode import PLAIN
from dsactl.methods.gradient_matching.condense import State, condense, initial
from dsactl.methods.gradient_matching.inner_step import classes_at_once
from dsactl.recipes.recipe import Recipe, Request

DATASET = small_dataset()


def recipe(**options: object) -> Recipe:
    values = {"dataset": "small", "ipc": 2, "iterations": 3, "inner_steps": 3, "network_epochs": 2, "width": 8}
    values |= {"batch_real": 12, "batch_train": 4, **options}
    if values.get("arch"):
        del values["width"]
    return Request.parse(values).resolve(
        "small", DATASET.train.checksum(), (1, 8, 8), mirrored=True, precision="float32"
    )


CASES = {
    "dsa": recipe(),
    "dc": recipe(method="dc"),
    "one image per class": recipe(ipc=1, inner_steps=1),
    "batch norm": recipe(norm="batch"),
    "layer norm": recipe(norm="layer", distance="mse", image_lr=0.01),
    "mlp": recipe(arch="mlp", distance="cos"),
    "noise, all real images": recipe(init="noise", batch_real=1000),
    "nothing augmented": recipe(scheme="none"),
    "real ones augmented": recipe(scheme="real"),
    "synthetic ones augmented": recipe(scheme="synthetic"),
    "each image by itself": recipe(scheme="both"),
}


@pytest.mark.parametrize("name", CASES)
def test_algorithm_1_against_the_paper_shaped_version(name: str) -> None:
    """Step for step over three outer iterations, the images stay the same up to the order of float sums."""
    case = CASES[name]
    fast = [state.images_KICHW for state in condense(DATASET, case)]
    slow = list(slow_condense(DATASET, case))
    assert len(fast) == len(slow) == 3 * case.settings.inner_steps
    for step, (ours, theirs) in enumerate(zip(fast, slow, strict=True)):
        moved = (theirs - initial(DATASET, case).images_KICHW).norm()
        assert (ours - theirs).norm() / moved < 2e-3, f"step {step}"
    assert (fast[-1] - initial(DATASET, case).images_KICHW).abs().max() > 1e-4


def test_schemes_differ_and_no_scheme_is_dc_from_real_images() -> None:
    last = {name: list(condense(DATASET, recipe(scheme=name)))[-1].images_KICHW for name in SCHEMES}
    for one, other in combinations(last.values(), 2):
        assert not torch.allclose(one, other)
    dc = list(condense(DATASET, recipe(method="dc", init="real")))[-1].images_KICHW
    torch.testing.assert_close(last["none"], dc)


def test_the_same_recipe_gives_the_same_bits_and_another_seed_others() -> None:
    torch.manual_seed(1)
    first = [state.images_KICHW for state in condense(DATASET, recipe())]
    torch.manual_seed(2)
    again = [state.images_KICHW for state in condense(DATASET, recipe())]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other = [state.images_KICHW for state in condense(DATASET, recipe(seed=1))]
    assert not torch.equal(first[-1], other[-1])


@pytest.mark.parametrize("name", ["dsa", "batch norm"])
def test_every_state_is_a_place_to_go_on_from(name: str) -> None:
    states = list(condense(DATASET, CASES[name]))
    positions = [(state.iteration, state.step) for state in states]
    assert positions == [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 0)]
    for state in states[:-1]:
        last = list(condense(DATASET, CASES[name], state))[-1]
        assert torch.equal(last.images_KICHW, states[-1].images_KICHW)
        assert torch.equal(last.velocity_KICHW, states[-1].velocity_KICHW)
    assert list(condense(DATASET, CASES[name], states[-1])) == []


def test_states_are_not_changed_by_going_on() -> None:
    def snapshot(state: State) -> list[torch.Tensor]:
        tensors = [state.images_KICHW, state.velocity_KICHW, *state.parameters.values(), *state.buffers.values()]
        return [tensor.clone() for tensor in tensors]

    copies, states = [], []
    for state in condense(DATASET, CASES["batch norm"]):
        states.append(state)
        copies.append(snapshot(state))
    for state, copy in zip(states, copies, strict=True):
        assert all(torch.equal(now, then) for now, then in zip(snapshot(state), copy, strict=True))


def test_momentum_is_kept_across_networks() -> None:
    case = recipe(ipc=1, inner_steps=1, iterations=4)
    for before, after in pairwise(condense(DATASET, case)):
        torch.testing.assert_close(after.images_KICHW, before.images_KICHW - 0.1 * after.velocity_KICHW)
        # From the same place without momentum, the next step's velocity is the gradient alone.
        halted = replace(before, velocity_KICHW=torch.zeros_like(before.velocity_KICHW))
        gradient = next(condense(DATASET, case, halted)).velocity_KICHW
        torch.testing.assert_close(after.velocity_KICHW, 0.5 * before.velocity_KICHW + gradient)
        assert (after.velocity_KICHW - gradient).norm() > 0.01 * gradient.norm()


@pytest.mark.parametrize("chunk", [2, 3])
def test_classes_in_chunks_are_the_same_step(chunk: int) -> None:
    one_by_one = list(condense(DATASET, recipe()))[-1].images_KICHW
    stacked = list(condense(DATASET, recipe(), mode=replace(PLAIN, chunk=chunk)))[-1].images_KICHW
    moved = (one_by_one - initial(DATASET, recipe()).images_KICHW).norm()
    assert (stacked - one_by_one).norm() / moved < 2e-3


@pytest.mark.parametrize("ipc", [1, 2, 5, 50])
def test_chunks_are_of_one_size_and_small_on_a_cpu(ipc: int) -> None:
    chunk = classes_at_once(100, recipe(ipc=ipc), torch.device("cpu"))
    assert 100 % chunk == 0
    assert chunk * ipc <= max(16, ipc)


@needs_compiler
@pytest.mark.parametrize("name", ["dsa", "dc", "batch norm"])
def test_our_own_layers_go_the_same_way(name: str) -> None:
    """Batch norm and layer norm have no fused layers, and go unchanged."""
    case = replace(CASES[name], network=replace(CASES[name].network, width=16))
    slow = list(condense(DATASET, case))[-1]
    fast = list(condense(DATASET, case, mode=replace(PLAIN, native=True)))[-1]
    moved = (slow.images_KICHW - initial(DATASET, case).images_KICHW).norm()
    assert (fast.images_KICHW - slow.images_KICHW).norm() / moved < 2e-3


def test_synthetic_batches_are_bounded() -> None:
    case = recipe(ipc=6, batch_synthetic=4, inner_steps=1, iterations=1, strategy="none")
    (state,) = condense(DATASET, case)
    moved = (state.images_KICHW - initial(DATASET, case).images_KICHW).flatten(2).norm(dim=2) > 0
    assert moved.sum(1).tolist() == [4, 4, 4]


def test_starts() -> None:
    real = initial(DATASET, recipe()).images_KICHW
    pool = DATASET.normalise(DATASET.train.images_NCHW).view(3, 20, -1)
    for label in range(3):
        for image in real[label].flatten(1):
            assert (pool[label] == image).all(1).any()
        assert not torch.equal(real[label, 0], real[label, 1])
    noise = initial(DATASET, recipe(init="noise", ipc=200)).images_KICHW
    assert noise.mean().item() == pytest.approx(0, abs=0.03)
    assert noise.std().item() == pytest.approx(1, abs=0.03)


@needs_torch_compile
@pytest.mark.slow
def test_compiled_functions_agree_with_eager_ones() -> None:
    assert can_compile("cpu")
    case = recipe()
    eager = list(condense(DATASET, case))[-1]
    fast = list(condense(DATASET, case, mode=replace(PLAIN, compiled=True, chunk=3)))[-1]
    moved = (eager.images_KICHW - initial(DATASET, case).images_KICHW).norm()
    assert (fast.images_KICHW - eager.images_KICHW).norm() / moved < 2e-3


@pytest.mark.gpu
def test_a_gpu_goes_the_same_way() -> None:
    case = recipe(ipc=1, inner_steps=1, iterations=2)
    here = list(condense(DATASET, case))[-1].images_KICHW
    there = list(condense(DATASET.to(torch.device("cuda")), case))[-1].images_KICHW.cpu()
    moved = (here - initial(DATASET, case).images_KICHW).norm()
    assert (here - there).norm() / moved < 0.05


@pytest.mark.gpu
@pytest.mark.parametrize("strategy", ["scale_rotate", "color_crop_cutout_flip"])
def test_a_gpu_gives_the_same_bits_twice(strategy: str) -> None:
    compute_reproducibly()
    there, case = DATASET.to(torch.device("cuda")), recipe(strategy=strategy)
    first, again = (list(condense(there, case))[-1].images_KICHW for _ in range(2))
    assert torch.equal(first, again)
