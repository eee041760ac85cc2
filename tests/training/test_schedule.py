"""Schedules and CutMix in training, against torch's optimiser and a loop written out."""

import math

import pytest
import torch
from reference import small_dataset
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from dsactl.engine.random import generator
from dsactl.networks.build import build, initial_state
from dsactl.networks.catalogue import NetworkSpec
from dsactl.training.schedule import Schedule
from dsactl.training.sgd import PlainTraining, Plan, stack

DATASET = small_dataset()
IMAGES = DATASET.normalise(DATASET.train.images_NCHW)[::4].double()
LABELS = DATASET.train.labels_N[::4]
SOFT = torch.rand(len(LABELS), 3, dtype=torch.float64, generator=Generator().manual_seed(5)).softmax(1)
SPEC = NetworkSpec(width=8)
IDCS = Schedule((4, 5), 5, resets_momentum=False)


def plan(schedule: Schedule, cutmix: float = 0.0) -> Plan:
    return Plan(6, 0.05, 0.9, 0.01, 5, schedule, cutmix)


def begin(count: int = 1):  # type: ignore[no-untyped-def]
    network = build(SPEC, 1, (8, 8), 3).double()
    states = [initial_state(network, generator(0, "network", index)) for index in range(count)]
    parts = [stack([state[part] for state in states]) for part in (0, 1)]
    return network, *({name: tensor.double() for name, tensor in part.items()} for part in parts)


def sources(count: int = 1) -> list[Generator]:
    return [generator(0, "training", index) for index in range(count)]


def trained(how: Plan, labels: Tensor, count: int = 1) -> dict[str, Tensor]:
    network, parameters, buffers = begin(count)
    return PlainTraining(network, how)(parameters, buffers, IMAGES, labels, sources(count))[0]


def written_out(milestones: list[int], factor: float, reset: bool, cutmix: float, labels: Tensor) -> dict[str, Tensor]:
    """Torch's SGD and MultiStepLR, with CutMix pixel by pixel."""
    network, parameters, _ = begin()
    network.load_state_dict({name: tensor[0] for name, tensor in parameters.items()})
    (source,) = sources()
    optimiser = torch.optim.SGD(network.train().parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones, factor)
    for epoch in range(6):
        if reset and epoch in milestones:
            optimiser.state.clear()
        for chosen in torch.split(torch.randperm(len(IMAGES), generator=source), 5):
            loss = mixed_loss(network, IMAGES[chosen], labels[chosen], cutmix, source)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    return {name: tensor.detach() for name, tensor in network.named_parameters()}


def mixed_loss(network: nn.Module, images: Tensor, labels: Tensor, cutmix: float, source: Generator) -> Tensor:
    if not cutmix or torch.rand(1, generator=source) >= cutmix:
        return F.cross_entropy(network(images), labels)
    cut = math.sqrt(1 - torch.rand(1, generator=source).item())
    other = torch.randperm(len(images), generator=source)
    row, column = (int(torch.randint(8, (1,), generator=source)) for _ in range(2))
    mixed, pasted = images.clone(), 0
    for y in range(8):
        for x in range(8):
            if abs(y - row + 0.5) < int(8 * cut) // 2 and abs(x - column + 0.5) < int(8 * cut) // 2:
                mixed[:, :, y, x], pasted = images[other, :, y, x], pasted + 1
    ratio, logits = 1 - pasted / 64, network(mixed)
    return ratio * F.cross_entropy(logits, labels) + (1 - ratio) * F.cross_entropy(logits, labels[other])


@pytest.mark.parametrize("labels", [LABELS, SOFT], ids=["hard", "soft"])
@pytest.mark.parametrize("cutmix", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("schedule", "milestones", "factor", "reset"),
    [(Schedule((3,)), [3], 0.1, True), (IDCS, [4, 5], 0.2, False), (Schedule((3, 3), 5), [3, 3], 0.2, True)],
    ids=["dsa", "idc", "twice"],
)
def test_training_is_torch_s(
    schedule: Schedule, milestones: list[int], factor: float, reset: bool, cutmix: float, labels: Tensor
) -> None:
    ours, expected = trained(plan(schedule, cutmix), labels), written_out(milestones, factor, reset, cutmix, labels)
    for name, tensor in expected.items():
        torch.testing.assert_close(ours[name][0], tensor, rtol=1e-8, atol=1e-10)


def test_neither_momentum_nor_rate_is_without_effect() -> None:
    """The cases above differ, so that none of them holds for another."""
    plans = [plan(IDCS), plan(Schedule((4, 5), 5)), plan(Schedule((4, 5), 4, resets_momentum=False)), plan(IDCS, 0.5)]
    found = [trained(each, LABELS) for each in plans]
    name = next(iter(found[0]))
    for other in found[1:]:
        assert (found[0][name] - other[name]).abs().max() > 1e-6


def test_cutmix_side_by_side_is_cutmix_alone() -> None:
    together = trained(plan(IDCS, 0.5), LABELS, 3)
    alone = trained(plan(IDCS, 0.5), LABELS, 1)
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name][0], tensor[0], rtol=1e-8, atol=1e-10)


def test_without_cutmix_nothing_is_drawn_for_it() -> None:
    network, parameters, buffers = begin()
    (used,), (shuffled,) = sources(), sources()
    PlainTraining(network, plan(IDCS, 0.0))(parameters, buffers, IMAGES, LABELS, [used])
    for _ in range(6):
        torch.randperm(len(IMAGES), generator=shuffled)
    assert torch.equal(used.get_state(), shuffled.get_state())


def test_the_rate_of_each_epoch() -> None:
    assert [Schedule((2,)).rate(0.01, epoch) for epoch in range(4)] == [0.01, 0.01, 0.001, 0.001]
    assert [IDCS.rate(1.0, epoch) for epoch in (3, 4, 5)] == [1.0, 0.2, 0.04]
    assert [Schedule((2,)).resets(epoch) for epoch in (1, 2, 3)] == [False, True, False]
    assert not IDCS.resets(4)
