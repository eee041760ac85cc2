import pytest

from dsactl.errors import UnknownNameError, UsageError
from dsactl.networks.build import structure
from dsactl.networks.catalogue import NetworkSpec
from dsactl.studies.nas.space import name_of, sample, space, where


def test_the_space_is_the_papers() -> None:
    networks = space()
    assert len(networks) == 720 == 4 * 4 * 3 * 5 * 3
    names = [name_of(network) for network in networks]
    assert len({*names}) == 720
    assert names[0] == "depth1-width32-sigmoid-nonorm-nopool"
    assert name_of(NetworkSpec().resolve(3, (32, 32))) == "depth3-width128-relu-instance-avg"
    assert NetworkSpec().resolve(3, (32, 32)) in networks
    for network in networks:
        structure(network, 3, (32, 32), 10)


def test_parts_of_the_space() -> None:
    networks = space()

    def count(text: str) -> int:
        found = where(networks, text)
        assert [network for network in networks if network in found] == found, "in their order"
        return len(found)

    assert count("depth<=3,norm=instance|group") == 3 * 4 * 3 * 2 * 3
    assert count(" width >= 128 , pooling != none ") == 4 * 2 * 3 * 5 * 2
    assert count("depth=2|4") == 360
    assert count("width<64,activation=relu,norm=none,pooling=avg,depth>3") == 1
    assert count("depth>4") == 0
    for wrong, said in (
        ("", "'' is not a valid condition"),
        ("depth", "'depth' is not a valid condition"),
        ("depth<=2|3", "one number"),
        ("norm<3", "takes depth or width"),
        ("depth<=3,,norm=batch", "'' is not a valid condition"),
    ):
        with pytest.raises(UsageError, match=said):
            where(networks, wrong)
    for wrong in ("heigth=3", "norm=instanse", "depth=5"):
        with pytest.raises(UnknownNameError):
            where(networks, wrong)


def test_samples_are_drawn_once_and_grow() -> None:
    networks = space()
    few, more = sample(networks, 12, 0), sample(networks, 72, 0)
    assert len({*map(name_of, few)}) == 12
    assert {*few} <= {*more}
    assert few == sample(networks, 12, 0)
    assert few != sample(networks, 12, 1)
    assert sample(networks, 1000, 0) == networks
