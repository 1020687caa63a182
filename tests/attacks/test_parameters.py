"""Parameters at their ends and drawn at random: each ends in a run, or in a message that names the field."""

import contextlib
import dataclasses
import typing

import numpy as np
import pytest
from attacks.children import SMALL, answer_of, names_one
from attacks.ledger import SEED, times
from needed import needed

from dnll_core import Experiment, train
from dnll_core.augment import OPERATIONS
from dnll_core.config import AUTO, METHODS
from dnll_core.fields import ConfigError

needed("hypothesis", extra="long")
from hypothesis import HealthCheck, given, seed, settings  # noqa: E402 - an extra
from hypothesis import strategies as st  # noqa: E402

GIGABYTES, SECONDS = 8, 60  # of two iterations and an evaluation, on a busy machine
HINTS = typing.get_type_hints(Experiment, include_extras=True)


def parts_of(hint):
    """All that an annotation consists of."""
    yield hint
    for part in (*typing.get_args(hint), *getattr(hint, "metadata", ())):
        yield from parts_of(part)


WHOLE = (1, 2, 3, 1000, 10**6, 2**31 - 1, 2**31, 2**53, 2**63, 10**18, 10**30)
REAL = (0.0, 1e-300, 1e-45, 1e-30, 1e-3, 1.0, 1e3, 1e10, 3.4e38, 1e39, 1e300)


def ends_of(name):
    """Values at the ends of what a field takes, and beyond what fits anywhere."""
    parts = [*parts_of(HINTS[name])]
    if bool in parts:
        return [True, False]
    if int not in parts and float not in parts:
        return [value for part in parts if typing.get_origin(part) is typing.Literal for value in typing.get_args(part)]
    bounds = [getattr(part, key) for part in parts for key in ("ge", "gt", "le") if hasattr(part, key)]
    kind, wide = (int, WHOLE) if int in parts else (float, REAL)
    return list(dict.fromkeys([*map(kind, (*bounds, *wide)), *[None] * (type(None) in parts)]))


CASES = [(name, value) for name in HINTS for value in ends_of(name) if name not in ("dataset", "source")]
CASES += [(name, view) for name in ("weak", "strong") for view in OPERATIONS]
CASES += [(name, value) for name in ("dataset", "source") for value in AUTO if value.startswith("digits")]
# A field that some methods have is tried with these methods.
OWNERS = {"threshold": "pseudo-label", "consistency": "mean-teacher", "teacher": "mean-teacher", "vat": "vat tnar"}
OWNERS |= {"stab": "dual-student", "logit": "dual-student", "ensemble": "temporal-ensembling", "mixup": "mixmatch"}
OWNERS |= {"sharpening": "mixmatch", "fixmatch": "fixmatch", "sntg": "pi-model+sntg tssdl", "dmt": "dmt"}
OWNERS |= {"lp_gamma": "mean-teacher+lp", "lp_alpha": "mean-teacher+lp", "lp_": "mean-teacher+lp mean-teacher+tssdl"}
OWNERS |= {"rounds": "curriculum-labeling", "ccl": "filtering-ccl temperature-ccl", "ccn": "ccn", "tnar": "tnar"}
OWNERS |= {"own_networks": "improved-gan triple-gan"} | dict.fromkeys(("cot", "dif", "adversarial"), "co-training")


def owners_of(name):
    return next((methods for start, methods in OWNERS.items() if name.startswith(start)), "dnll").split()


def two_iterations(fields):
    """In a child. How many were made until there were two of the last stage, where fields of a method count."""
    stages, most = [], 3 * (1077 // SMALL["unlabelled_batch"])

    def observe(batch, output):
        stages.append(output.method.stage == len(output.method.stages) - 1)

    with contextlib.suppress(KeyboardInterrupt):
        stop = lambda ahead: sum(stages) >= 2 or len(stages) >= most  # noqa: E731
        train(Experiment(**fields), 0, progress=False, observer=observe, should_stop=stop)
    return len(stages)


@pytest.mark.parametrize("part", range(times(8, 1)))
def test_the_ends_of_every_field(part, attempt):
    chosen = CASES[part::8] if times(1, 0) else CASES[:: len(CASES) // 3]
    for name, value, owner in [(*case, owner) for case in chosen for owner in owners_of(case[0])]:
        with attempt("parameters", f"{name}={value!r}, {owner}"):
            fields = SMALL | {"method": owner, "selection": "epm" if name.startswith("epm") else "ep", name: value}
            end, told = answer_of(two_iterations, fields, seconds=SECONDS, gigabytes=GIGABYTES)
            if end == "raised":
                kind, message = told
                assert kind in ("ConfigError", "DataError", "TrainingDiverged"), f"{kind}: {message}"
                assert names_one(message, [name]) or kind == "TrainingDiverged", message
                assert len(message) < 600, message
            else:
                assert (end, told > 0) == ("ended", True), (end, told)


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([*METHODS, *AUTO, *OPERATIONS, "true", "none", "1e-3", "crop+flip", b"bytes", [], {}, (1,), 1j]),
    st.builds(np.float32, st.floats(width=32)),
    st.builds(np.int64, st.integers(-(2**63), 2**63 - 1)),
)


@seed(SEED)
@settings(max_examples=times(2000, 100), deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(fields=st.dictionaries(st.sampled_from([*HINTS, "epoch", "lambda", ""]), ANYTHING, max_size=4))
def _drawn_parameters(attempt, fields):
    with attempt("parameters", fields):
        try:
            made = Experiment(**fields)
        except ConfigError as error:
            assert names_one(str(error), fields) and len(str(error)) < 1500, error
        else:
            assert Experiment(**made.to_dict()) == made
            assert all(field.name in made.to_dict() for field in dataclasses.fields(Experiment))


def test_parameters_drawn_at_random(attempt):
    _drawn_parameters(attempt)
