"""Fused layers compared with torch's own, in both precisions and at shapes that cover every path of the C++ code."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from compilers import needs_compiler
from torch import Tensor, nn

from dsactl.engine import native
from dsactl.engine.native import library
from dsactl.networks import fused
from dsactl.networks.build import build, initial_state, structure
from dsactl.networks.catalogue import NetworkSpec
from dsactl.networks.fused import FusedLayers, fuse


def layers(channels: int, width: int, pool: int, padding: int = 1) -> nn.Sequential:
    """Return a block whose norm is far from the identity."""
    made = nn.Sequential(nn.Conv2d(channels, width, 3, padding=padding), nn.GroupNorm(width, width), nn.ReLU())
    if pool == 2:
        made.append(nn.AvgPool2d(2))
    nn.init.normal_(made[1].weight)
    nn.init.normal_(made[1].bias)
    return made


def gradients(network: nn.Module, x_NCHW: Tensor, weights: Tensor) -> tuple[Tensor, list[Tensor]]:
    x_NCHW = x_NCHW.clone().requires_grad_()
    y = network(x_NCHW)
    return y.detach(), list(torch.autograd.grad((y.float() * weights).sum(), [x_NCHW, *network.parameters()]))


SHAPES = [  # channels, width, pool, padding, size: images, height, width
    (3, 128, 2, 1, (4, 16, 16)),
    (1, 64, 2, 3, (3, 28, 28)),  # one channel: both memory formats have the same strides
    (5, 16, 2, 1, (2, 7, 9)),  # rows and columns outside every pooling window
    (4, 80, 1, 1, (2, 5, 6)),  # no pooling; 64 channels together and 16 alone
    (2, 48, 2, 0, (1, 6, 4)),
]


@needs_compiler
def test_a_compiler_makes_the_library() -> None:
    assert library() is not None


def test_float64_takes_the_plain_layers() -> None:
    plain = layers(3, 32, 2).double()
    x_NCHW = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert torch.equal(FusedLayers(*plain)(x_NCHW), plain(x_NCHW))


@needs_compiler
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_gradient_of_images_alone_is_the_same(precision: torch.dtype) -> None:
    """What some objectives need; that of the weights, as much work again, is then left out."""
    torch.manual_seed(0)
    block, x_NCHW = FusedLayers(*layers(3, 64, 2)), torch.randn(4, 3, 16, 16)
    with torch.autocast("cpu", precision, enabled=precision is torch.bfloat16):
        weights = torch.randn(4, 64, 8, 8)
        _, (expected, *_) = gradients(block, x_NCHW, weights)
        block.requires_grad_(False)
        x_NCHW.requires_grad_()
        y = block(x_NCHW)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as seen:
            (alone,) = torch.autograd.grad((y.float() * weights).sum(), [x_NCHW])
    assert torch.equal(alone, expected)
    (backward,) = (event for event in seen.events() if event.name == "aten::convolution_backward")
    assert backward.cpu_children == [] or all("weights" not in child.name for child in backward.cpu_children)


@needs_compiler
@pytest.mark.parametrize(("channels", "width", "pool", "padding", "size"), SHAPES)
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_a_block_is_the_same_as_its_layers(
    channels: int, width: int, pool: int, padding: int, size: tuple[int, int, int], offset: float
) -> None:
    torch.manual_seed(0)
    plain = layers(channels, width, pool, padding).double()
    fused = FusedLayers(*layers(channels, width, pool, padding))
    fused.load_state_dict({name: tensor.float() for name, tensor in plain.state_dict().items()})
    count, height, across = size
    x = torch.randn(count, channels, height, across) + offset
    weights = torch.randn_like(plain(x.double())).float()
    expected, theirs = gradients(plain, x.double(), weights.double())
    y, ours = gradients(fused, x, weights)
    assert y.shape == expected.shape
    torch.testing.assert_close(y.double(), expected, rtol=1e-3, atol=1e-4 * (1 + offset))
    names = ["x", *(name for name, _ in plain.named_parameters())]
    for name, mine, its in zip(names, ours, theirs, strict=True):
        if name == "0.bias":  # the norm cancels the bias, so its gradient is only rounding error
            assert torch.equal(mine, torch.zeros_like(mine))
            assert its.abs().max() < 1e-9
        else:
            assert (mine - its).norm() / its.norm() < 1e-4 * (1 + offset), name


@needs_compiler
@pytest.mark.parametrize(("channels", "width", "pool", "padding", "size"), SHAPES[:3])
def test_bfloat16_loses_no_more_than_torch_s_own_layers(
    channels: int, width: int, pool: int, padding: int, size: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    plain = layers(channels, width, pool, padding)
    fused = FusedLayers(*plain)
    x = torch.randn(size[0], channels, *size[1:])
    weights = torch.randn_like(plain(x))
    expected, exact = gradients(plain, x, weights)
    with torch.autocast("cpu", torch.bfloat16):
        y, ours = gradients(fused, x, weights)
        _, theirs = gradients(plain, x, weights)
    assert y.dtype == torch.bfloat16
    assert (y.float() - expected).norm() / expected.norm() < 1e-2
    for index in (0, 1, 3, 4):
        assert ours[index].dtype == torch.float32
        error, usual = ((got[index] - exact[index]).norm() / exact[index].norm() for got in (ours, theirs))
        assert error < max(1.2 * usual, 1e-2)


@needs_compiler
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_does_not_vanish(value: float) -> None:
    """A diverged run is detected by its images, so a value that is not finite must never become finite again."""
    network = FusedLayers(*layers(3, 16, 2))
    x = torch.randn(2, 3, 8, 8)
    x[1, 0, 3, 3] = value
    for precision in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            y = network(x)
        assert torch.isfinite(y[0]).all()
        assert y[1].isnan().any()


@needs_compiler
@pytest.mark.parametrize(
    ("spec", "blocks"),
    [
        (NetworkSpec(width=16), 3),
        (NetworkSpec(width=24), 0),  # not a multiple of 16
        (NetworkSpec(width=16, pooling="max"), 3),
        (NetworkSpec(width=16, norm="batch"), 0),
        (NetworkSpec(width=16, activation="swish"), 0),
        (NetworkSpec("vgg11"), 8),
        (NetworkSpec("mlp"), 0),
    ],
    ids=str,
)
def test_networks_are_the_same_fused(spec: NetworkSpec, blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    apply = fused._Block.apply
    monkeypatch.setattr(fused._Block, "apply", lambda *arguments: calls.append(1) or apply(*arguments))
    plain, ours = build(spec, 3, (32, 32), 10).eval(), fuse(structure(spec, 3, (32, 32), 10)).eval()
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in ours.named_parameters()]
    parameters, buffers = initial_state(plain, torch.Generator().manual_seed(1))
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    expected = torch.func.functional_call(plain, (parameters, buffers), (x,))
    assert not calls
    torch.testing.assert_close(
        torch.func.functional_call(ours, (parameters, buffers), (x,)), expected, rtol=1e-3, atol=1e-4
    )
    assert len(calls) == blocks


@pytest.fixture
def native_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Provide an empty cache for libraries, and clear this process's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    native._found.cache_clear()
    yield tmp_path / "cache" / "dsactl" / "native"
    native._found.cache_clear()


def test_without_a_compiler_everything_stays_plain(
    tmp_path: Path, native_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, old, calls = tmp_path / "broken", tmp_path / "old", tmp_path / "calls"
    broken.write_text(f'#!/bin/sh\necho "$0 $1" >> {calls}\nexit 1\n')
    old.write_text(f'#!/bin/sh\necho "$0 $1" >> {calls}\n[ "$1" = --version ]\n')
    for path in (broken, old):
        path.chmod(0o755)
    no_compiler = {"PATH": str(tmp_path / "empty"), "CXX": ""}
    for change in (no_compiler, {"CXX": str(broken)}, {"CXX": str(old)}, {"DSACTL_NATIVE": "0"}):
        native._found.cache_clear()
        with monkeypatch.context() as patch:
            patch.delenv("DSACTL_NATIVE", raising=False)
            for name, value in change.items():
                patch.setenv(name, value)
            assert library() is None
            network = fuse(structure(NetworkSpec(), 3, (32, 32), 10))
        assert not any(isinstance(module, FusedLayers) for module in network.modules())
    assert calls.read_text().splitlines() == [f"{broken} --version", f"{old} --version", f"{old} -O3"]
    assert not list(native_folder.iterdir())


@needs_compiler
def test_the_library_is_made_once(native_folder: Path) -> None:
    """Takes two seconds of compilation."""
    assert library() is not None
    (made,) = native_folder.iterdir()
    when = made.stat().st_mtime_ns
    native._found.cache_clear()
    assert library() is not None
    assert [path.stat().st_mtime_ns for path in native_folder.iterdir()] == [when]


@needs_compiler
@pytest.mark.usefixtures("native_folder")
def test_rounding_to_bfloat16_is_the_processor_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor that rounds in hardware, the portable code gives the same bits, including NaNs."""
    torch.manual_seed(0)
    network, x = FusedLayers(*layers(3, 80, 2)), torch.randn(3, 3, 9, 8)
    x[1, 0, 2, 2] = float("nan")
    x[2] *= 1e30
    results = []
    for folder, flags in (("own", ()), ("portable", ("-U__AVX512BF16__",))):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / folder))
        monkeypatch.setattr(native, "_FLAGS", (*native._FLAGS, *flags))
        native._found.cache_clear()
        made = native.library()
        assert made is not None
        monkeypatch.setattr(fused, "library", lambda made=made: made)
        with torch.autocast("cpu", torch.bfloat16):
            results.append(gradients(network, x, torch.ones(3, 80, 4, 4)))
    (y, ours), (other, theirs) = results
    for mine, its in zip([y, *ours], [other, *theirs], strict=True):
        torch.testing.assert_close(mine, its, rtol=0, atol=0, equal_nan=True)
