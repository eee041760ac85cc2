"""Batches of a set: what a network of one's own is trained on is what the networks of an evaluation are trained on."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dsactl
from dsactl.engine.random import generator
from dsactl.synthetic.training_batches import augmentation_by
from dsactl.training.protocols import NAMED
from dsactl.training.sgd import PlainTraining, Plan

EPOCHS = 4


@pytest.fixture(scope="module")
def condensed() -> dsactl.SyntheticSet:
    """An old set whose recipe has all kinds of augmentation except flip: 10 images."""
    return dsactl.load("bundled/mnist-dsa-convnet-ipc1:1")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 16), nn.ReLU(), nn.Linear(16, 10))


@pytest.mark.parametrize("name", ["dsa", "dc", "idc"])
def test_a_loop_over_batches_trains_the_network_of_an_evaluation(condensed: dsactl.SyntheticSet, name: str) -> None:
    named = NAMED[name]
    plan = Plan(EPOCHS, 0.01, 0.9, 5e-4, named.batch, cutmix=named.cutmix)
    train = PlainTraining(network(), plan, augmentation_by(named, condensed.recipe, condensed.size)[1])
    start = {key: value.detach()[None] for key, value in network().named_parameters()}
    expected, _ = train(start, {}, condensed.images, condensed.targets, [generator(1, "batches")])

    own = network()
    optimiser = torch.optim.SGD(own.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for images, labels in condensed.batches(EPOCHS, seed=1, protocol=name):
        loss = F.cross_entropy(own(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for key, value in own.named_parameters():
        torch.testing.assert_close(value.detach(), expected[key][0], rtol=1e-4, atol=1e-5)


def test_the_protocol_is_the_one_that_the_set_was_made_for(condensed: dsactl.SyntheticSet) -> None:
    later = dsactl.load("bundled/fashionmnist-dance-convnet-ipc1-formation2")
    assert (condensed.recipe.protocol, later.recipe.protocol) == ("dsa", "idc")
    hard = next(later.batches(protocol="dsa"))
    assert (hard[0].shape, hard[1].shape) == ((40, 1, 28, 28), (40,)), "decoded, with labels"
    assert len(next(later.batches(batch_size=7))[0]) == 7
    labels = torch.cat([labels for _, labels in later.batches(100)])
    assert labels.shape == (4000, 10)
    assert torch.allclose(labels.sum(1), torch.ones(4000))
    mixed = (labels.amax(1) < 1).float().mean()
    assert 0.2 < mixed < 0.6, "half of the batches; nothing shows where both images are of one class"
    with pytest.raises(dsactl.Error, match="Unknown protocol 'icd'"):
        later.batches(protocol="icd")
    with pytest.raises(dsactl.Error, match="`protocol` must be"):
        later.batches(protocol=3)  # type: ignore[arg-type]
