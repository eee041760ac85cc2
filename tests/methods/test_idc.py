"""IDC: DSA with its switches off; and a slow version of it in pixels of 0 … 1, with a loop over parameters."""

import threading
from dataclasses import replace

import pytest
import torch
from compilers import needs_compiler, needs_torch_compile
from reference import small_dataset
from sessions import Told
from slow_idc import gradients, kinds_of, slow_condense, slow_distance, slow_training
from torch import Tensor, nn

import dsactl
from dsactl.augmentation.composed import draw_composed
from dsactl.augmentation.strategy import KINDS
from dsactl.augmentation.transforms import augment
from dsactl.data.dataset import Dataset, sample_without_replacement
from dsactl.engine.mode import PLAIN
from dsactl.engine.processes import Processes
from dsactl.engine.random import generator
from dsactl.methods.gradient_matching import inner_network, inner_step
from dsactl.methods.gradient_matching.condense import State, condense, initial, initial_images
from dsactl.methods.gradient_matching.cost import count_work
from dsactl.methods.gradient_matching.idc import IdcMatching
from dsactl.methods.gradient_matching.inner_network import RealTraining
from dsactl.methods.gradient_matching.inner_step import InnerStep
from dsactl.networks.build import build, initial_state, structure
from dsactl.parametrisation.formation import parametrisation
from dsactl.recipes.recipe import Recipe, Request
from dsactl.training.sgd import Plan, SgdTraining, stack

DATASET = small_dataset(channels=3)
DATASET = replace(DATASET, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.4))
OFF = {"match": "all", "combination": "one", "network_data": "set", "cutmix": 0.0, "clamp": "off", "distance": "ours"}
OFF |= {"image_lr": 0.1 / 16, "image_momentum": 0.5, "matching_strategy": "color_crop_cutout_flip_scale_rotate"}


class Doubles(Dataset):
    """Images in float64."""

    def normalise(self, pixels_NCHW: Tensor) -> Tensor:
        return super().normalise(pixels_NCHW).double()


DOUBLES = Doubles(**vars(DATASET))


def request(**options: object) -> Request:
    values = {"dataset": "small", "ipc": 2, "method": "idc", "iterations": 2, "inner_steps": 3, "width": 8}
    values |= {"batch_real": 12, "batch_train": 8, "network_images": 20, **options}
    if values.get("arch"):
        del values["width"]
    return Request.parse(values)


def recipe(real: Dataset = DATASET, **options: object) -> Recipe:
    shape = (real.channels, *real.size)
    return request(**options).resolve("small", real.train.checksum(), shape, mirrored=True, precision="float32")


def test_with_every_switch_off_it_is_dsa_bit_for_bit() -> None:
    """The rate is for pixels in 0 … 1: with a standard deviation of 1/4, a sixteenth of the usual one."""
    real, loops = small_dataset(), {"network_epochs": 2, "batch_train": 4}
    dsa = Request.parse(
        {"dataset": "small", "ipc": 2, "iterations": 2, "inner_steps": 3, "width": 8, "batch_real": 12, **loops}
    ).resolve("small", real.train.checksum(), (1, 8, 8), mirrored=True, precision="float32")
    theirs, ours = list(condense(real, dsa)), list(condense(real, recipe(real, **OFF, **loops)))
    assert len(theirs) == len(ours) == 6
    for one, other in zip(theirs, ours, strict=True):
        assert torch.equal(one.images_KICHW, other.images_KICHW)
        assert torch.equal(one.velocity_KICHW, other.velocity_KICHW)
        assert torch.equal(one.distance_K, other.distance_K)
        assert one.parameters.keys() == other.parameters.keys()
        assert all(torch.equal(one.parameters[name], other.parameters[name]) for name in one.parameters)


CASES = {
    "as published": recipe(),
    "formation 2": recipe(ipc=1, formation=2),
    "some of the decoded images": recipe(ipc=1, formation=2, batch_synthetic=3),
    "noise, never clamped": recipe(init="noise", clamp="off"),
    "sum of absolute differences": recipe(distance="l1", image_lr=1e-3),
    "without cutmix": recipe(cutmix=0.0),
    "all gradients, several epochs": recipe(match="all", network_epochs=2),
    "all kinds": recipe(matching_strategy="color_crop_cutout_flip_scale_rotate"),
    "mlp": recipe(arch="mlp"),
    "momentum": recipe(image_momentum=0.5),
}


@pytest.mark.parametrize("name", CASES)
def test_against_the_paper_shaped_version(name: str) -> None:
    case = CASES[name]
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (DATASET.mean, DATASET.std))
    fast = [state.images_KICHW * std + mean for state in condense(DATASET, case)]
    slow = list(slow_condense(DATASET, case))
    assert len(fast) == len(slow) == 6
    start = initial(DATASET, case).images_KICHW * std + mean
    for step, (ours, theirs) in enumerate(zip(fast, slow, strict=True)):
        assert (ours - theirs).norm() / (theirs - start).norm() < 2e-3, f"step {step}"
    assert (fast[-1] - start).abs().max() > 1e-3


def one_step(case: Recipe, chunk: int = 1) -> tuple[InnerStep, dict[str, Tensor], Tensor]:
    """A step in float64, a network, and images."""
    real = DOUBLES
    network = structure(case.network, real.channels, real.size, real.classes)
    parameters, _ = initial_state(network, generator(0, "test"))
    step = InnerStep(real, case, network, replace(PLAIN, chunk=chunk))
    source = torch.Generator().manual_seed(2)
    shape = (real.classes, case.ipc, real.channels, *real.size)
    images_KICHW = torch.randn(shape, dtype=torch.float64, generator=source)
    return step, {name: tensor.double() for name, tensor in parameters.items()}, images_KICHW


@pytest.mark.parametrize("options", [{}, {"distance": "l1"}, {"match": "all"}, {"ipc": 1, "formation": 2}])
def test_distance_and_gradient_against_a_loop_over_the_parameters(options: dict[str, object]) -> None:
    case, real = recipe(**options), DOUBLES
    step, parameters, images_KICHW = one_step(case)
    distance_K, gradient_KICHW = step(parameters, {}, images_KICHW, 0, 0)
    network = build(case.network, real.channels, real.size, real.classes).double()
    network.load_state_dict(parameters)
    for label in range(real.classes):
        stored = images_KICHW[label].clone().requires_grad_()
        batch = real.draw(label, 12, generator(0, "real-batch", 0, 0, label))
        omega = draw_composed(kinds_of(case), 1, real.size, generator(0, "transformation", 0, 0, label))
        theirs = gradients(network, augment(batch, omega), label, twice=False)
        decoded = parametrisation(case.formation).decode(stored)
        ours = gradients(network, augment(decoded, omega), label, twice=True)
        wanted = slow_distance(ours, theirs, case.settings_as(IdcMatching))
        torch.testing.assert_close(distance_K[label], wanted.detach(), rtol=1e-10, atol=0)
        (gradient,) = torch.autograd.grad(wanted, stored)
        torch.testing.assert_close(gradient_KICHW[label], gradient, rtol=1e-8, atol=1e-12)


def test_convolutions_alone_are_all_parameters_without_the_others() -> None:
    (conv, parameters, images), (every, *_) = (one_step(recipe(match=match)) for match in ("conv", "all"))
    distances = [step(parameters, {}, images, 0, 0)[0] for step in (conv, every)]
    real, case = DOUBLES, recipe()
    network = build(case.network, real.channels, real.size, real.classes).double()
    network.load_state_dict(parameters)
    for label in range(real.classes):
        batch = real.draw(label, 12, generator(0, "real-batch", 0, 0, label))
        omega = draw_composed(kinds_of(case), 1, real.size, generator(0, "transformation", 0, 0, label))
        theirs, ours = (gradients(network, augment(x, omega), label, twice=False) for x in (batch, images[label]))
        others = sum((ours[name] - theirs[name]).square().sum() for name in ours if ours[name].ndim != 4)
        assert others > 0.01 * distances[1][label]
        torch.testing.assert_close(distances[0][label], distances[1][label] - others, rtol=1e-10, atol=0)


@pytest.mark.parametrize("options", [{}, {"match": "all", "distance": "ours"}, {"ipc": 1, "formation": 2}])
def test_the_gradient_against_finite_differences(options: dict[str, object]) -> None:
    step, parameters, images_KICHW = one_step(recipe(activation="sigmoid", **options), chunk=3)
    direction = torch.randn(images_KICHW.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    _, gradient_KICHW = step(parameters, {}, images_KICHW, 0, 0)
    after, before = (step(parameters, {}, images_KICHW + sign * 1e-5 * direction, 0, 0)[0].sum() for sign in (1, -1))
    torch.testing.assert_close((gradient_KICHW * direction).sum(), (after - before) / 2e-5, rtol=1e-6, atol=0)


def trained(real: Dataset, case: Recipe, calls: int) -> list[dict[str, Tensor]]:
    """Parameters and velocity after a few calls."""
    network = structure(case.network, real.channels, real.size, real.classes)
    parameters, buffers = initial_state(network, generator(0, "test"))
    parameters, velocity = {name: tensor.double() for name, tensor in parameters.items()}, {}
    training = RealTraining(real, case, network)
    for call in range(calls):
        parameters, buffers, velocity = training(parameters, buffers, velocity, generator(0, "training", call))
    return [parameters, velocity]


@pytest.mark.parametrize(
    "options", [{}, {"cutmix": 0.0}, {"network_epochs": 2}, {"network_images": 1000}, {"scheme": "synthetic"}]
)
def test_networks_are_trained_on_real_images_with_a_momentum_that_goes_on(options: dict[str, object]) -> None:
    real, case = DOUBLES, recipe(**options)
    parameters, velocity = trained(real, case, 3)
    network = build(case.network, real.channels, real.size, real.classes)
    network.load_state_dict(initial_state(network, generator(0, "test"))[0])
    network.double()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for call in range(3):
        slow_training(network, optimiser, real, case, generator(0, "training", call))
    for name, theirs in network.named_parameters():
        torch.testing.assert_close(parameters[name], theirs.detach(), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(velocity[name], optimiser.state[theirs]["momentum_buffer"], rtol=1e-9, atol=1e-12)


def test_cutmix_of_probability_0_is_none() -> None:
    case, real = recipe(cutmix=0.0), DATASET
    network = structure(case.network, real.channels, real.size, real.classes)
    parameters, _ = initial_state(network, generator(0, "test"))
    once = RealTraining(real, case, network)(parameters, {}, {}, generator(0, "training", 0))[0]
    source, plan = generator(0, "training", 0), Plan(1, 0.01, 0.9, 5e-4, 8)
    plain = SgdTraining(
        network,
        plan,
        lambda images, drawn: augment(images, draw_composed(kinds_of(case), len(images), real.size, drawn)),
        stack([parameters]),
        {},
    )
    chosen = sample_without_replacement(60, 24, source)
    for batch in torch.split(chosen, 8):
        plain.step(real.at, real.train.labels_N, batch[None], [source], 0.01)
    assert all(torch.equal(plain.parameters_M[name][0], once[name]) for name in once)


def test_training_on_the_set_may_mix_too() -> None:
    states = [list(condense(DATASET, recipe(network_data="set", cutmix=cutmix)))[-2] for cutmix in (0.0, 1.0)]
    assert not torch.equal(*(state.parameters["classifier.weight"] for state in states))
    assert not states[0].network_velocity


@pytest.mark.parametrize("name", ["as published", "formation 2"])
def test_every_state_is_a_place_to_go_on_from(name: str) -> None:
    states = list(condense(DATASET, CASES[name]))
    for state in states[:-1]:
        assert torch.equal(list(condense(DATASET, CASES[name], state))[-1].images_KICHW, states[-1].images_KICHW)
    forgetful = replace(states[0], network_velocity={})
    assert not torch.equal(list(condense(DATASET, CASES[name], forgetful))[-1].images_KICHW, states[-1].images_KICHW)


def test_a_run_interrupted_within_an_outer_iteration_goes_on_to_the_same_bits() -> None:
    def stop(done: float, _total: float, _doing: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    options = {"method": "idc", "ipc": 1, "width": 8, "iterations": 2, "inner_steps": 4, "formation": 2}
    options |= {"batch_real": 8, "network_images": 64}
    with pytest.raises(KeyboardInterrupt):
        dsactl.condense("digits", **options, progress=Told(stop))
    resumed = dsactl.condense("digits", **options)
    assert torch.equal(resumed.images, dsactl.condense("digits", **options, fresh=True).images)


class Both(Processes):
    """Two threads in the place of two processes."""

    count = 2

    def __init__(self, rank: int, rows: dict[int, Tensor], barrier: threading.Barrier) -> None:
        self.rank, self._rows, self._barrier = rank, rows, barrier

    def gather(self, own_kX: Tensor, classes: int) -> Tensor:
        self._rows[self.rank] = own_kX
        self._barrier.wait(60)
        everything = torch.cat([self._rows[0], self._rows[1]])
        self._barrier.wait(60)
        assert len(everything) == classes
        return everything


def test_two_processes_give_one_process_s_result() -> None:
    alone, case = list(condense(DATASET, recipe()))[-1].images_KICHW, recipe()
    rows, barrier, made = dict[int, Tensor](), threading.Barrier(2), dict[int, State]()

    def run(rank: int) -> None:
        made[rank] = list(condense(DATASET, case, processes=Both(rank, rows, barrier)))[-1]

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(made[0].images_KICHW, made[1].images_KICHW)
    moved = (alone - initial(DATASET, case).images_KICHW).norm()
    assert (made[0].images_KICHW - alone).norm() / moved < 2e-3


@pytest.mark.parametrize("data", ["real", "set"])
def test_only_the_training_that_is_used_is_built(monkeypatch: pytest.MonkeyPatch, data: str) -> None:
    built = list[str]()
    monkeypatch.setattr(inner_network, "RealTraining", lambda *_: built.append("real"))
    monkeypatch.setattr(inner_network, "training_of", lambda *_, captured: built.append("set"))
    inner_network.InnerNetwork(DATASET, recipe(network_data=data), nn.Identity(), captured=True)
    assert built == [data]


@pytest.mark.parametrize("scheme", ["siamese", "both", "real", "none"])
def test_captured_steps_take_the_same_transformations(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """What a GPU replays is called directly here."""
    monkeypatch.setattr(inner_step, "_CapturedMatch", lambda function, _inputs, _device: function)
    case = recipe(matching_strategy="color_crop_cutout_flip_scale_rotate", scheme=scheme)
    plain, captured = (
        list(condense(DATASET, case, mode=replace(PLAIN, captured=each)))[-1].images_KICHW for each in (False, True)
    )
    moved = (plain - initial(DATASET, case).images_KICHW).norm()
    assert (captured - plain).norm() / moved < 2e-3


@needs_compiler
def test_our_own_layers_go_the_same_way() -> None:
    case = recipe(width=16)
    plain, fused = (list(condense(DATASET, case, mode=replace(PLAIN, native=each)))[-1] for each in (False, True))
    moved = (plain.images_KICHW - initial(DATASET, case).images_KICHW).norm()
    assert (fused.images_KICHW - plain.images_KICHW).norm() / moved < 2e-3


@needs_torch_compile
@pytest.mark.slow
def test_compiled_functions_agree_with_eager_ones() -> None:
    case = recipe()
    eager, fast = (
        list(condense(DATASET, case, mode=replace(PLAIN, compiled=each, chunk=3)))[-1] for each in (False, True)
    )
    moved = (eager.images_KICHW - initial(DATASET, case).images_KICHW).norm()
    assert (fast.images_KICHW - eager.images_KICHW).norm() / moved < 2e-3


def test_pixels_are_valid_after_every_outer_iteration() -> None:
    """Black and white are what real images have."""
    lowest, highest = DATASET.normalise(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1))
    clamped, free = (recipe(init="noise", image_lr=0.5, clamp=clamp) for clamp in ("on", "off"))
    for state in (initial(DATASET, clamped), *(each for each in condense(DATASET, clamped) if each.step == 0)):
        assert ((lowest <= state.images_KICHW) & (state.images_KICHW <= highest)).all()
    assert (list(condense(DATASET, free))[-1].images_KICHW > highest).any()
    real = initial_images(DATASET, clamped, "real")
    assert torch.equal(initial(DATASET, recipe()).images_KICHW, real)


def test_networks_on_the_set_have_all_kinds_which_condensing_does_not_depend_on() -> None:
    assert recipe().strategy == KINDS
    one, other = (list(condense(DATASET, recipe(strategy=each)))[-1] for each in ("none", "scale"))
    assert torch.equal(one.images_KICHW, other.images_KICHW)


def test_work_is_counted_with_the_real_images() -> None:
    work = count_work(recipe(network_epochs=2), DATASET)
    assert work.network_steps == 2 * 2 * 2 * 3  # three batches of eight for twenty images
    assert count_work(recipe(network_images=1000), DATASET).network_steps == 2 * 2 * 8  # all sixty
