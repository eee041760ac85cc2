import pytest
import torch
from reference import small_dataset
from sessions import Told
from torch import Generator, Tensor
from torch.nn import functional as F

from dsactl.augmentation.transforms import augment, draw
from dsactl.engine.random import generator
from dsactl.networks.build import build, initial_state
from dsactl.networks.catalogue import NetworkSpec
from dsactl.training.schedule import Schedule
from dsactl.training.sgd import PlainTraining, Plan, count_correct, stack, unstack

DATASET = small_dataset()
IMAGES = DATASET.normalise(DATASET.train.images_NCHW)[::4]
LABELS = DATASET.train.labels_N[::4]
PLAN = Plan(epochs=6, lr=0.05, momentum=0.9, weight_decay=0.01, batch=4, schedule=Schedule((3,)))
SPECS = [NetworkSpec(width=8), NetworkSpec(width=8, norm="batch"), NetworkSpec("mlp")]


def augment_batch(images: Tensor, source: Generator) -> Tensor:
    return augment(images, draw(("crop", "flip"), len(images), (8, 8), source))


def states(network: torch.nn.Module, count: int):  # type: ignore[no-untyped-def]
    drawn = [initial_state(network, generator(0, "network", index)) for index in range(count)]
    return stack([parameters for parameters, _ in drawn]), stack([buffers for _, buffers in drawn])


def sources(count: int) -> list[Generator]:
    return [generator(0, "training", index) for index in range(count)]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.label(1, (8, 8)))
def test_training_against_a_plain_loop(spec: NetworkSpec) -> None:
    network = build(spec, 1, (8, 8), 3)
    parameters, buffers = PlainTraining(network, PLAN, augment_batch)(*states(network, 1), IMAGES, LABELS, sources(1))

    plain = build(spec, 1, (8, 8), 3).train()
    plain.load_state_dict(
        {name: t for part in initial_state(plain, generator(0, "network", 0)) for name, t in part.items()}
    )
    (source,) = sources(1)
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    for epoch in range(6):
        if epoch == 3:
            optimiser = torch.optim.SGD(plain.parameters(), lr=0.005, momentum=0.9, weight_decay=0.01)
        for chosen in torch.split(torch.randperm(len(IMAGES), generator=source), 4):
            loss = F.cross_entropy(plain(augment_batch(IMAGES[chosen], source)), LABELS[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    for name, expected in plain.named_parameters():
        torch.testing.assert_close(parameters[name][0], expected.detach(), rtol=1e-3, atol=1e-5)
    for name, expected in plain.named_buffers():
        torch.testing.assert_close(buffers[name][0], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[2]], ids=lambda spec: spec.label(1, (8, 8)))
def test_side_by_side_is_the_same_as_alone(spec: NetworkSpec) -> None:
    network = build(spec, 1, (8, 8), 3)
    together, _ = PlainTraining(network, PLAN, augment_batch)(*states(network, 3), IMAGES, LABELS, sources(3))
    for index in range(3):
        parameters, buffers = initial_state(network, generator(0, "network", index))
        alone, _ = PlainTraining(network, PLAN, augment_batch)(
            stack([parameters]), stack([buffers]), IMAGES, LABELS, [sources(3)[index]]
        )
        for name, tensor in alone.items():
            torch.testing.assert_close(together[name][index], tensor[0], rtol=1e-3, atol=1e-4)


def test_training_leaves_its_input_alone_and_reports_epochs() -> None:
    network = build(SPECS[1], 1, (8, 8), 3)
    parameters, buffers = states(network, 1)
    copies = [tensor.clone() for tensor in (*parameters.values(), *buffers.values())]
    told = Told()
    PlainTraining(network, PLAN, None)(parameters, buffers, IMAGES, LABELS, sources(1), told)
    assert [(done, total) for done, total, *_ in told.updates] == [(epoch, 6) for epoch in (1, 2, 3, 4, 5, 6)]
    assert all(torch.equal(a, b) for a, b in zip((*parameters.values(), *buffers.values()), copies, strict=True))


def test_right_answers_are_counted_over_batches() -> None:
    network = build(SPECS[0], 1, (8, 8), 3)
    parameters, buffers = (unstack(part, 0) for part in states(network, 1))
    test = DATASET.normalise(DATASET.test.images_NCHW)
    logits = torch.func.functional_call(network.eval(), (parameters, buffers), (test,))
    expected = (logits.argmax(1) == DATASET.test.labels_N).sum().item()
    batches = zip(torch.split(test, 7), torch.split(DATASET.test.labels_N, 7), strict=True)
    assert count_correct(network, parameters, buffers, batches) == expected


def test_a_network_without_numbers_is_right_by_chance() -> None:
    """A guess is correct with probability 1/3, whatever the classes' frequencies."""
    network = build(SPECS[0], 1, (8, 8), 3)
    parameters, buffers = (unstack(part, 0) for part in states(network, 1))
    lost = {name: torch.full_like(tensor, float("nan")) for name, tensor in parameters.items()}
    images = DATASET.normalise(DATASET.test.images_NCHW[:9])
    for labels in (torch.zeros(9, dtype=torch.long), torch.ones(9, dtype=torch.long)):
        assert count_correct(network, lost, buffers, [(images, labels)]) == 3
