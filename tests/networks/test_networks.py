import pytest
import torch
from reference import VALUES, golden_image, golden_parameters
from torch import nn
from torch.func import functional_call

from dsactl.errors import NetworkError, UnknownNameError, UsageError
from dsactl.methods.coresets.features import last_linear
from dsactl.networks import layers
from dsactl.networks.build import build, initial_state, structure
from dsactl.networks.catalogue import ACTIVATIONS, ARCHITECTURES, NORMS, POOLINGS, NetworkSpec

SIZES = (8, 16, 28, 32, 64)

# Image sizes that a network cannot take, by (arch, channels); all others must work.
IMPOSSIBLE = {
    ("lenet", 1): {8},
    ("lenet", 3): {8},
    ("vgg11", 1): {8, 16},
    ("vgg11", 3): {8, 16, 28},
    ("vgg11bn", 1): {8, 16},
    ("vgg11bn", 3): {8, 16, 28},
    ("resnet18", 1): {8, 16},
    ("resnet18", 3): {8, 16},
    ("resnet18bn", 1): {8, 16},
    ("resnet18bn", 3): {8, 16},
}


@pytest.mark.parametrize("case", VALUES["networks"])
def test_networks_match_the_authors_program(case: str) -> None:
    name, shape = case.split("-")
    channels, side = map(int, shape.split("x"))
    network = build(NetworkSpec(name.lower()), channels, (side, side), 10).eval().double()
    parameters = golden_parameters(network)
    expected = VALUES["networks"][case]
    assert sum(parameter.numel() for parameter in parameters.values()) == expected["parameters"]
    assert len(parameters) == expected["tensors"]
    logits = functional_call(network, parameters, (golden_image(3, channels, side, side, 1),))
    torch.testing.assert_close(logits, torch.tensor(expected["logits"], dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", SIZES)
def test_networks_take_images_of_every_size_or_say_why_not(arch: str, channels: int, side: int) -> None:
    with torch.device("meta"):
        if side in IMPOSSIBLE.get((arch, channels), ()):
            with pytest.raises(NetworkError, match=f"{arch} cannot take {channels}×{side}×{side} images: .+ "):
                build(NetworkSpec(arch), channels, (side, side), 7)
            return
        network = build(NetworkSpec(arch), channels, (side, side), 7)
        assert network(torch.empty(2, channels, side, side)).shape == (2, 7)


def test_the_default_depth_follows_small_images() -> None:
    def depth(channels: int, side: int, **options: str) -> int:
        with torch.device("meta"):
            network = build(NetworkSpec(**options), channels, (side, side), 10)
        return sum(isinstance(module, nn.Conv2d) for module in network.modules())

    assert [depth(1, side) for side in (4, 8, 15, 16, 28, 32, 64)] == [1, 2, 2, 3, 3, 3, 3]
    assert depth(3, 28) == 3
    assert depth(1, 8, pooling="none") == 3


def test_published_sizes_of_special_layers() -> None:
    with torch.device("meta"):
        assert build(NetworkSpec("resnet18bn_ap"), 3, (32, 32), 10).classifier.in_features == 512 * 4 * 4
        assert build(NetworkSpec("resnet18bn_ap"), 1, (28, 28), 10).classifier.in_features == 512 * 3 * 3
        assert build(NetworkSpec("vgg11"), 3, (64, 64), 10).classifier.in_features == 512 * 2 * 2
        # Images need not be square.
        assert build(NetworkSpec("convnet"), 3, (32, 48), 10).classifier.in_features == 128 * 4 * 6


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_variant_of_the_convnet_computes(norm: str, activation: str, pooling: str) -> None:
    spec = NetworkSpec("convnet", 2, 8, norm, activation, pooling)
    network = build(spec, 3, (8, 8), 4).train()
    logits = network(torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (5, 4)
    assert logits.isfinite().all()
    kinds = {type(module) for module in network.modules()}
    expected = {
        "instance": nn.GroupNorm,
        "group": nn.GroupNorm,
        "layer": layers.LayerNorm,
        "batch": layers.BatchNorm2d,
    }
    assert {kind for kind in kinds if kind in expected.values()} == ({expected[norm]} if norm in expected else set())
    groups = {module.num_groups for module in network.modules() if isinstance(module, nn.GroupNorm)}
    assert groups == {"instance": {8}, "group": {4}}.get(norm, set())
    pools = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}
    assert {kind for kind in kinds if kind in pools.values()} == ({pools[pooling]} if pooling in pools else set())


@pytest.mark.parametrize("spec", [NetworkSpec(arch) for arch in ARCHITECTURES] + [NetworkSpec(norm="layer")])
def test_initial_state_is_the_frameworks_own_initialisation(spec: NetworkSpec) -> None:
    """The same generator gives the same bits as torch's own layers draw."""
    torch.manual_seed(5)
    network = build(spec, 3, (32, 32), 10)
    parameters, buffers = initial_state(network, torch.Generator().manual_seed(5))
    if spec.arch.startswith("resnet18"):
        # Its layers are not constructed in the order of their names, so the distributions are compared.
        for name, parameter in network.named_parameters():
            assert parameters[name].shape == parameter.shape
            assert parameters[name].abs().max() == pytest.approx(parameter.abs().max().item(), rel=0.05)
            if parameter.numel() > 1000:
                assert parameters[name].std() == pytest.approx(parameter.std().item(), rel=0.05)
    else:
        for name, parameter in network.named_parameters():
            assert torch.equal(parameters[name], parameter), name
    for name, buffer in network.named_buffers():
        assert torch.equal(buffers[name], buffer), name


def test_initial_state_depends_on_the_generator_alone() -> None:
    network = build(NetworkSpec(), 1, (8, 8), 10)
    first, _ = initial_state(network, torch.Generator().manual_seed(1))
    torch.manual_seed(99)
    again, _ = initial_state(network, torch.Generator().manual_seed(1))
    other, _ = initial_state(network, torch.Generator().manual_seed(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_labels_twins_and_refusals() -> None:
    def label(**variants: int | str) -> str:
        return NetworkSpec(**variants).label(3, (32, 32))

    assert label() == label(depth=3, width=128, norm="instance", activation="relu", pooling="avg") == "convnet"
    assert label(depth=2, norm="none", pooling="max") == "convnet-depth2-normnone-max"
    assert NetworkSpec(depth=2).label(1, (8, 8)) == "convnet"
    assert NetworkSpec(depth=3).label(1, (8, 8)) == "convnet-depth3"
    assert NetworkSpec("resnet18").label(1, (28, 28)) == "resnet18"
    assert NetworkSpec().resolve(1, (8, 8)) == NetworkSpec("convnet", 2, 128, "instance", "relu", "avg")
    assert NetworkSpec(norm="batch").instance_twin == NetworkSpec(norm="instance")
    assert NetworkSpec("vgg11bn").instance_twin == NetworkSpec("vgg11")
    assert NetworkSpec("resnet18bn_ap").instance_twin == NetworkSpec("resnet18")
    assert NetworkSpec("lenet").instance_twin == NetworkSpec("lenet")
    with pytest.raises(UnknownNameError, match="Did you mean 'resnet18'"):
        NetworkSpec("resnet")
    with pytest.raises(UnknownNameError, match="Unknown norm 'instanc'"):
        NetworkSpec(norm="instanc")
    with pytest.raises(UsageError, match="lenet has no variants, and depth was given"):
        NetworkSpec("lenet", depth=2)
    with pytest.raises(UsageError, match="`depth` must be at least 1"):
        NetworkSpec(depth=0)
    with pytest.raises(NetworkError, match=r"convnet-depth4 cannot take 1×8×8 images: .* always zero"):
        build(NetworkSpec(depth=4), 1, (8, 8), 10)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_network_has_a_last_linear_layer_whose_input_are_features(arch: str) -> None:
    assert last_linear(structure(NetworkSpec(arch), 3, (32, 32), 10)).out_features == 10


def test_a_network_without_features_is_refused() -> None:
    with pytest.raises(NetworkError, match="no linear layer"):
        last_linear(torch.nn.Sequential(torch.nn.Conv2d(3, 10, 1)))
