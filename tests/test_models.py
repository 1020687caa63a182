"""models: sizes by independent arithmetic, shapes, learning, copies, memory formats and half precision, errors."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dnll_core.models import NETWORKS, Dropout, build_network, count_parameters

NAMES = list(NETWORKS)
SIZE = {"cnn13": 12, "wrn28-2": 12, "cnn3": 12, "small": 8, "cnn6": 8}  # small enough to be cheap


def small_build(name, **options):
    """A cheap network of each kind, without dropout unless asked for."""
    options = {"num_classes": 4, "channels": 3, "size": SIZE[name], "dropout": 0.0} | options
    return build_network(name, **options)


def batch(name, n=8, channels=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, channels, SIZE[name], SIZE[name], generator=generator), torch.arange(n) % 4


# ------------------------------------------------------------------------------------------------ parameter counts


def normed_conv(inputs, outputs, kernel):
    """Direction, length and bias of a weight-normed convolution, scale and shift of the batch norm."""
    return inputs * outputs * kernel**2 + outputs + outputs + 2 * outputs


def normed_head(inputs, classes):
    return inputs * classes + classes + classes


def cnn13_size(channels, classes, heads):
    widths = [channels, 128, 128, 128, 256, 256, 256, 512, 256, 128]
    kernels = [3] * 7 + [1, 1]
    return sum(map(normed_conv, widths, widths[1:], kernels)) + heads * normed_head(128, classes)


def cnn3_size(channels, classes, heads):
    return sum(map(normed_conv, [channels, 16, 32], [16, 32, 32], [3] * 3)) + heads * normed_head(32, classes)


def wrn_size(channels, classes, heads):
    total, inputs = channels * 16 * 9, 16
    for outputs in (32, 64, 128):
        total += inputs * outputs  # the 1x1 shortcut of the first block
        for _ in range(4):
            total += 2 * inputs + 9 * inputs * outputs + 2 * outputs + 9 * outputs * outputs
            inputs = outputs
    return total + 2 * 128 + heads * (128 * classes + classes)


def plain_size(*widths):
    def size(channels, classes, heads):
        convs = [i * o * 9 + 2 * o for i, o in itertools.pairwise((channels, *widths))]
        return sum(convs) + heads * (64 * classes + classes)

    return size


small_size, cnn6_size = plain_size(16, 32, 64), plain_size(16, 16, 32, 32, 64, 64)


@pytest.mark.parametrize(
    "name, size, heads, expected",
    [("cnn13", 32, 1, 3_125_908), ("cnn13", 32, 2, 3_127_208), ("wrn28-2", 32, 1, 1_467_610), ("cnn3", 28, 2, 15_256)],
)
def test_published_parameter_counts(name, size, heads, expected):
    assert count_parameters(build_network(name, 10, 3, size, heads)) == expected


@pytest.mark.parametrize("name, formula", list(zip(NAMES, (cnn13_size, wrn_size, cnn3_size, small_size, cnn6_size))))
@pytest.mark.parametrize("channels, classes, heads", [(1, 10, 1), (3, 7, 2)])
def test_parameter_counts_by_arithmetic(name, formula, channels, classes, heads):
    network = small_build(name, num_classes=classes, channels=channels, heads=heads)
    assert count_parameters(network) == formula(channels, classes, heads)


# ---------------------------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", [2, 13])
@pytest.mark.parametrize("channels, extra", [(1, (0, 0)), (3, (1, 4)), (5, (16, 2))])
def test_shapes(name, classes, channels, extra):
    size = tuple(NETWORKS[name].min_size + e for e in extra)
    network = build_network(name, classes, channels, size, heads=2)
    assert network.training
    x = torch.randn(2, channels, *size)
    (first, second), hidden = network(x, return_features=True)
    assert first.shape == second.shape == (2, classes)
    assert hidden.shape == (2, network.hidden)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("heads", [1, 2])
def test_features_and_heads_give_the_logits(name, heads):
    network, (x, _) = small_build(name, heads=heads).eval(), batch(name)
    with torch.no_grad():
        logits, hidden = network(x, return_features=True)
        plain, features = network(x), network.features(x)
        by_hand = [F.linear(features, head.weight, head.bias) for head in network.heads]
    assert torch.equal(hidden, features)
    outputs = logits if heads == 2 else (logits,)
    assert isinstance(plain, tuple) == (heads == 2)
    for got, again, expected in zip(outputs, plain if heads == 2 else (plain,), by_hand, strict=True):
        assert torch.equal(got, again)
        torch.testing.assert_close(got, expected)
    if heads == 2:
        assert not torch.equal(*outputs)


def test_cnn13_global_pooling_is_the_six_by_six_pool_at_32():
    network = build_network("cnn13", 10, 3, 32).eval()
    assert type(network.body[-1]).__name__ == "GlobalAveragePool"
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        maps = network.body[:-1](x)
        assert maps.shape == (2, 128, 6, 6)
        torch.testing.assert_close(network.features(x), F.avg_pool2d(maps, 6).flatten(1))


# -------------------------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize("name", NAMES)
def test_one_batch_is_overfitted(name):
    torch.manual_seed(0)
    network, (x, y) = small_build(name, heads=2), batch(name)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    for _ in range(40 if name in ("cnn3", "small", "cnn6") else 15):
        first, second = network(x)
        loss = F.cross_entropy(first, y) + F.cross_entropy(second, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    with torch.no_grad():
        first, second = network(x)
    assert torch.equal(first.argmax(1), y) and torch.equal(second.argmax(1), y)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_is_the_networks_own_unless_given(name):
    x, _ = batch(name)
    for given, random in ((None, NETWORKS[name].dropout > 0), (0.0, False), (0.3, True)):
        network = small_build(name, dropout=given)
        with torch.no_grad():
            assert torch.equal(network(x), network(x)) != random
            network.eval()
            assert torch.equal(network(x), network(x))


def test_weight_norm_separates_length_and_direction():
    conv = small_build("cnn13").body[0]
    length, direction = conv.parametrizations.weight.original0, conv.parametrizations.weight.original1
    torch.testing.assert_close(conv.weight.flatten(1).norm(dim=1), length.flatten())
    torch.testing.assert_close(conv.weight, length * direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1))


def test_wide_resnet_initialisation():
    network = build_network("wrn28-2", 10, 3, 32)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module.weight.numel() > 9000:
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)


# ---------------------------------------------------------------------------------------------- copies and formats


@pytest.mark.parametrize("name", NAMES)
def test_the_global_seed_decides_the_weights(name):
    torch.manual_seed(3)
    first, second = small_build(name), small_build(name)
    torch.manual_seed(3)
    again = small_build(name)
    weights = [torch.nn.utils.parameters_to_vector(n.parameters()) for n in (first, second, again)]
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[1])


@pytest.mark.parametrize("name", NAMES)
def test_deepcopy_is_equal_and_independent(name):
    network, (x, y) = small_build(name), batch(name)
    twin = copy.deepcopy(network)
    before = network(x).detach()
    assert torch.equal(twin(x), before)
    F.cross_entropy(twin(x), y).backward()
    assert all(p.grad is None for p in network.parameters())
    with torch.no_grad():
        for p in twin.parameters():
            p.mul_(0.5)
    assert torch.equal(network(x), before)


@pytest.mark.parametrize("name", NAMES)
def test_state_is_loaded_into_the_same_memory(name):
    source, target, (x, _) = small_build(name), small_build(name), batch(name)
    source(x)  # moves the statistics of the batch norm
    places = [t.data_ptr() for t in (*target.parameters(), *target.buffers())]
    target.load_state_dict({key: value.clone() for key, value in source.state_dict().items()})
    assert places == [t.data_ptr() for t in (*target.parameters(), *target.buffers())]
    assert torch.equal(source.eval()(x), target.eval()(x))


@pytest.mark.parametrize("name", NAMES)
def test_channels_last_gives_the_same_logits(name):
    network, (x, _) = small_build(name).eval(), batch(name)
    last = copy.deepcopy(network).to(memory_format=torch.channels_last)
    with torch.no_grad():
        torch.testing.assert_close(
            last(x.contiguous(memory_format=torch.channels_last)), network(x), atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_autocast_trains(name):
    network = small_build(name, heads=2).to(memory_format=torch.channels_last)
    x, y = batch(name)
    x = x.contiguous(memory_format=torch.channels_last)
    exact = copy.deepcopy(network)(x)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first, second = network(x)
    assert first.dtype == torch.bfloat16
    assert (first.float() - exact).abs().max() < 0.1 * exact.abs().max() + 0.05
    (F.cross_entropy(first.float(), y) + F.cross_entropy(second.float(), y)).backward()
    for p in network.parameters():
        assert p.grad.dtype == torch.float32 and p.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_functional_call(name):
    network, (x, _) = small_build(name).eval(), batch(name)
    halved = {key: value.detach() * 0.5 for key, value in network.named_parameters()}
    before = network(x)
    assert not torch.equal(torch.func.functional_call(network, halved, (x,)), before)
    assert torch.equal(network(x), before)


# ---------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "change, message",
    [
        ({"name": "cnn14"}, "Did you mean 'cnn13'.*Accepted"),
        ({"name": "wrn-28-2"}, "Did you mean 'wrn28-2'"),
        ({"size": 8}, "size=8 is too small for network='cnn13': at least 12x12"),
        ({"size": (32, 11)}, "at least 12x12"),
    ],
)
def test_errors_name_the_argument(change, message):
    with pytest.raises(ValueError, match=message):
        build_network(**({"name": "cnn13", "num_classes": 10, "channels": 3, "size": 32} | change))


@pytest.mark.parametrize("name", NAMES)
def test_the_minimum_size_is_named(name):
    with pytest.raises(ValueError, match=f"at least {NETWORKS[name].min_size}x"):
        build_network(name, 10, 3, NETWORKS[name].min_size - 1)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_each_unit_by_itself_with_its_probability(memory_format, dtype):
    torch.manual_seed(0)
    x = torch.ones(400, 6, 5, 7, dtype=dtype).contiguous(memory_format=memory_format).requires_grad_()
    y = Dropout(0.3)(x)
    kept = (y != 0).double()
    assert y.is_contiguous(memory_format=memory_format) and y.dtype == dtype
    assert set(y.detach().unique().tolist()) == {0.0, float(torch.tensor(1 / 0.7, dtype=dtype))}
    n = kept.numel()
    assert abs(float(kept.mean()) - 0.7) < 4 * (0.21 / n) ** 0.5
    # independent: the share of pairs kept together is 0.49, for neighbours in memory and for neighbours in the image
    flat = kept.flatten()
    for together in (flat[:-1] * flat[1:], kept[..., 1:] * kept[..., :-1], kept[:, 1:] * kept[:, :-1]):
        assert abs(float(together.mean()) - 0.49) < 5 * (0.25 / together.numel()) ** 0.5
    y.sum().backward()
    assert torch.equal(x.grad != 0, y != 0)
    assert torch.equal(Dropout(0.3).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_one_channel_runs_in_channels_last_and_gives_the_same():
    """For one channel the memory formats coincide, and torch would fall back to the slower one."""
    network = build_network("cnn3", 10, 1, 28, dropout=0.0).to(memory_format=torch.channels_last).eval()
    x, seen = torch.randn(4, 1, 28, 28), []
    network.body[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    fast = network(x)
    assert seen[0].is_contiguous(memory_format=torch.channels_last) and not seen[0].is_contiguous()
    slow = network.heads[0](network.body(x))
    assert not seen[1].is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(fast, slow, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_networks_pickle(name):
    torch.manual_seed(0)
    network = build_network(name, 10, 3, 32, heads=2).to(memory_format=torch.channels_last)
    network.heads[0].bias.requires_grad_(False)
    before = torch.get_rng_state()
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(network))))
    assert torch.equal(torch.get_rng_state(), before)
    state, other = network.state_dict(), again.state_dict()
    assert list(state) == list(other)
    assert all(torch.equal(value, other[key]) and value.stride() == other[key].stride() for key, value in state.items())
    assert [p.requires_grad for p in network.parameters()] == [p.requires_grad for p in again.parameters()]
    x = torch.randn(2, 3, 32, 32)
    assert all(torch.equal(*pair) for pair in zip(network.eval()(x), again.eval()(x)))
    again.load_state_dict(build_network(name, 10, 3, 32, heads=2).state_dict())
    assert not torch.equal(again(x)[0], network(x)[0])


def test_numbers_of_numpy_are_taken():
    network = build_network("small", np.int64(3), np.int64(1), np.int64(8), np.int64(2), np.float32(0.5))
    assert network(torch.zeros(2, 1, 8, 8))[1].shape == (2, 3)
    assert [module.p for module in network.modules() if isinstance(module, torch.nn.Dropout)] == [0.5]
