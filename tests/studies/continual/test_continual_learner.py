"""One phase of continual learning: both losses, its steps, its outputs, and how it goes on."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dsactl.errors import RunError
from dsactl.networks.catalogue import NetworkSpec
from dsactl.studies.continual.learner import Images, Learner, Network, Phase, Settings, Teacher, distillation
from dsactl.studies.continual.memory import all_of
from dsactl.studies.continual.tasks import splits_of

CPU = torch.device("cpu")
SMALL = Settings(NetworkSpec(width=16), ("crop", "scale"), Phase(40, 0.02), Phase(40, 0.01))


def test_the_distillation_loss_by_hand() -> None:
    student, teacher = np.array([[1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 2.0, -1.0]]), np.array([[2.0, 0.0], [-1.0, 1.5]])
    total = 0.0
    for logits, taught in zip(student, teacher, strict=True):
        p = [math.exp(each / 2) for each in taught]
        q = [math.exp(each / 2) for each in logits[:2]]
        total -= sum(a / sum(p) * math.log(b / sum(q)) for a, b in zip(p, q, strict=True))
    ours = distillation(torch.tensor(student)[:, :2], torch.tensor(teacher), 2.0)
    assert float(ours) == pytest.approx(total / 2, rel=1e-12)
    same = torch.tensor(teacher, requires_grad=True)
    (gradient,) = torch.autograd.grad(distillation(same, torch.tensor(teacher), 2.0), same)
    assert gradient.abs().max() < 1e-12, "nothing is smaller than to answer alike"


def test_a_phase_is_sgd_on_all_losses() -> None:
    """One step of one batch against plain autograd: of two teachers, one is asked for the first outputs alone."""
    settings = replace(SMALL, strategy=(), distillation=0.7)
    learner = Learner(settings, (1, 8, 8), CPU)
    images_NCHW, labels_N = torch.randn(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
    images = Images(images_NCHW.__getitem__, labels_N, ("six",))
    student, teacher, other = learner.grown(None, 3, 0), learner.grown(None, 2, 1), learner.grown(None, 3, 2)
    trained = learner.train(student, images, Phase(1, 0.1), 0, [Teacher(teacher, 0, 2), Teacher(other, 1, 3)])
    module = learner.structure(3)
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in student.parameters.items()}
    logits = torch.func.functional_call(module, leaves, (images_NCHW,))
    taught = torch.func.functional_call(learner.structure(2), teacher.parameters, (images_NCHW,))
    others = torch.func.functional_call(learner.structure(3), other.parameters, (images_NCHW,))
    kept = distillation(logits[:, :2], taught, 2.0) + distillation(logits[:, 1:], others[:, 1:], 2.0)
    loss = F.cross_entropy(logits, labels_N) + 0.7 * kept
    gradient = torch.autograd.grad(loss, list(leaves.values()))
    for (name, before), slope in zip(leaves.items(), gradient, strict=True):
        after = before.detach() - 0.1 * (slope + 5e-4 * before.detach())
        torch.testing.assert_close(trained.parameters[name], after, rtol=1e-4, atol=1e-6)
    without = learner.train(student, images, Phase(1, 0.1), 0)
    assert not torch.equal(without.parameters["classifier.weight"], trained.parameters["classifier.weight"])


def test_a_phase_takes_as_many_steps_as_it_says() -> None:
    """Also where a pass over the images is longer, or no divisor; the rate falls at half time, without momentum."""
    learner = Learner(replace(SMALL, strategy=(), batch=4), (1, 8, 8), CPU)
    labels_N = torch.arange(10) % 2
    images = Images(torch.randn(10, 1, 8, 8).__getitem__, labels_N, ())
    for steps in (1, 2, 5, 8):
        told: list[tuple[int, int]] = []
        states: list[dict[str, Tensor]] = []

        def keep(done: int, total: int, tensors: dict[str, Tensor]) -> None:
            told.append((done, total))  # noqa: B023
            states.append(tensors)  # noqa: B023

        start = learner.grown(None, 2, 0)
        learner.train(start, images, Phase(steps, 0.01), 0, keep=keep)
        assert told == [(done, steps) for done in range(1, steps + 1)]
        before = {"parameter.classifier.weight": start.parameters["classifier.weight"][None]}
        rates = []
        for state in states:
            name = "classifier.weight"
            moved = before[f"parameter.{name}"] - state[f"parameter.{name}"]
            rates.append(float((moved / state[f"velocity.{name}"]).median()))
            before = state
        slow = steps // 2
        assert rates == pytest.approx([0.01] * (steps - slow) + [0.001] * slow, rel=1e-2)


def test_outputs_are_added_and_what_was_known_stays() -> None:
    learner = Learner(SMALL, (1, 8, 8), CPU)
    old = Network(2, *_drawn(learner, 2), key="k")
    grown = learner.grown(old, 5, 1)
    assert (grown.outputs, grown.key) == (5, "k")
    images = torch.randn(4, 1, 8, 8)
    before = torch.func.functional_call(learner.structure(2), old.parameters, (images,))
    after = torch.func.functional_call(learner.structure(5), grown.parameters, (images,))
    torch.testing.assert_close(after[:, :2], before)
    assert after.shape == (4, 5)
    assert all(torch.equal(old.parameters[name], learner.grown(old, 2, 9).parameters[name]) for name in old.parameters)


def _drawn(learner: Learner, outputs: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    fresh = learner.grown(None, outputs, 0)
    return fresh.parameters, fresh.buffers


def test_a_network_that_diverges_is_said() -> None:
    learner = Learner(replace(SMALL, strategy=()), (1, 8, 8), CPU)
    images = Images(torch.full((4, 1, 8, 8), torch.inf).__getitem__, torch.tensor([0, 1, 0, 1]), ("four",))
    with pytest.raises(RunError, match=r"The network diverged within 1 of 3 steps at a learning rate of 0\.1"):
        learner.train(learner.grown(None, 2, 0), images, Phase(3, 0.1), 0)


def test_a_phase_goes_on_inside_to_the_same_bits() -> None:
    """With teachers, soft labels, and a last batch that is smaller."""
    learner = Learner(replace(SMALL, batch=32), (1, 8, 8), CPU)
    task = splits_of("digits", 5, None)[0]
    shares_NK = torch.rand(50, 3).softmax(1)
    images = all_of(task) + Images(torch.randn(50, 1, 8, 8).__getitem__, shares_NK, ())
    teachers = [Teacher(learner.grown(None, 2, 5), 0, 2), Teacher(learner.grown(None, 3, 6), 1, 3)]
    kept: list[dict[str, Tensor]] = []

    def keep(_done: int, _total: int, tensors: dict[str, Tensor]) -> None:
        kept.append(tensors)

    whole = learner.train(learner.grown(None, 3, 0), images, Phase(25, 0.01), 0, teachers, keep=keep)
    assert len(kept) == 25
    for state in kept[:-1:5]:
        rest = learner.train(learner.grown(None, 3, 0), images, Phase(25, 0.01), 0, teachers, kept=state)
        assert all(torch.equal(rest.parameters[name], tensor) for name, tensor in whole.parameters.items())
