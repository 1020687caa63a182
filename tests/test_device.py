"""Where a run computes, and in which precision."""

import pytest
import torch

from dnll_core.device import FLOAT32, ONE_THREAD, choose_compute, cpu_name, processor


@pytest.mark.parametrize("units", [True, False])
def test_bfloat16_where_the_processor_has_it_and_gains_from_it(monkeypatch, units):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": units}, raising=False)

    fast = "bfloat16" if units else "float32"
    assert choose_compute("cpu", network="cnn13").precision == choose_compute("cpu", network="cnn3").precision == fast
    assert {choose_compute("cpu", network=network).precision for network in FLOAT32} == {"float32"}
    assert choose_compute("cpu", "bfloat16", "small").precision == "bfloat16"  # asked for
    assert choose_compute("cpu", "float32", "cnn13").precision == "float32"


def test_small_networks_take_one_thread():
    assert {choose_compute("cpu", network=network).threads for network in ONE_THREAD} == {1}
    assert choose_compute("cpu", network="cnn13").threads == torch.get_num_threads()


@pytest.mark.parametrize(
    ("units", "text"),
    [({"amx_tile": True, "avx512_bf16": True}, " with AMX"), ({"avx512_bf16": True}, " with BF16"), ({}, "")],
)
def test_a_processor_is_named_with_the_instructions_that_make_its_numbers(monkeypatch, units, text):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units, raising=False)
    assert processor() == f"{cpu_name()}, {torch.backends.cpu.get_cpu_capability()}{text}"


@pytest.mark.parametrize(
    "arguments, message",
    [(("cpu", "float16"), "precision='float16'.*auto, float32, bfloat16"), (("gpu",), "device='gpu' cannot be used")],
)
def test_what_is_not_there(arguments, message):
    with pytest.raises(ValueError, match=message):
        choose_compute(*arguments)
