"""Where a run computes, and in which precision."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch

from dnll_core.device import FLOAT32, ONE_THREAD, choose_compute, cpu_name, processor, usual_torch


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


def switches():
    products = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv
    grad = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    return torch.get_default_dtype(), torch.get_default_device(), grad, [each.fp32_precision for each in products]


def test_torch_is_as_usual_inside_and_the_callers_afterwards():
    own, before = torch.backends.mkldnn.matmul, switches()
    usual = (torch.float32, torch.device("cpu"), (True, False), [before[3][0], "ieee", before[3][2]])
    try:
        torch.set_default_dtype(torch.float64)
        own.fp32_precision = "bf16"
        with torch.device("meta"), torch.inference_mode():
            callers = switches()
            assert callers == (torch.float64, torch.device("meta"), (False, True), [before[3][0], "bf16", before[3][2]])
            with pytest.raises(KeyError), usual_torch():
                assert switches() == usual
                assert (torch.ones(1, requires_grad=True) * 2).requires_grad
                with usual_torch():
                    pass
                assert switches() == usual
                raise KeyError
            assert switches() == callers
    finally:
        torch.set_default_dtype(torch.float32)
        own.fp32_precision = before[3][1]
    assert switches() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize(("network", "ends"), [("small", "[0.1, 0.1]"), ("wrn28-2", "spawn")])
def test_a_forked_process_trains_with_one_thread_and_does_not_hang_with_more(network, ends):
    code = f"""
    import contextlib, multiprocessing, warnings
    from dnll_core import Experiment, load_data, train
    from dnll_core.signals import Stopped

    warnings.simplefilter("ignore")  # Python's own, of a fork beside threads
    e = Experiment(network="{network}", labels=10, labelled_batch=10, unlabelled_batch=1077, epochs=1, lr=1e-9)
    x = load_data("digits").x_test[:20]

    def job(seed):
        try:
            run = train(e, seed, progress=False)
            return run.predict(x).argmax(1).shape[0] / 200
        except RuntimeError as error:
            return str(error)

    with contextlib.suppress(Stopped):  # one iteration, of few images
        train(e.replace(unlabelled_batch=32), 0, progress=False, should_stop=lambda longest: True)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map_async(job, (1, 2)).get(timeout=100))
    """
    settings = os.environ | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=settings, capture_output=True, encoding="utf-8", timeout=200
    )
    assert ends in done.stdout, done.stderr
