"""Run records made up for tests: of any experiment, with the accuracies and measures that a test wants."""

import statistics

from dnll_core import results
from dnll_core.common import FORMAT
from dnll_core.config import Experiment
from dnll_core.provenance import made


def sitting(**changes):
    """One sitting of a run, of 30 iterations in 10 s."""
    place = {"device": "a device", "processor": "a processor", "torch": "2.14", "precision": "float32", "threads": 1}
    work = {"commit": "0123456789ab", "source_sha256": "ab" * 32, "iterations": 30, "seconds": 10.0}
    return place | work | changes


def record(experiment, seed, accuracy=0.5, curve=None, sittings=None, apart=0.01, networks=2, **measures):
    """A record whose last epoch has this test accuracy 0...1, which is also that of the ensemble.

    Args:
        experiment: or its fields.
        curve: test accuracies of all epochs, the last one replaced by `accuracy`; by default constant, three epochs.
        sittings: see `sitting`; by default one.
        apart: how far two submodels are from their mean, or less near 0 and 1.
        networks: how many submodels, 1 or 2.
        measures: name -> value in every epoch, or a list of those in each.
    """
    curve, history = [*(curve or [accuracy] * 3)[:-1], accuracy], []
    for i, a in enumerate(curve):
        d = min(apart, a, 1 - a)
        of_epoch = {name: value[i] if isinstance(value, list) else value for name, value in measures.items()}
        tested = {"submodels": [a - d, a + d] if networks == 2 else [a], "ensemble": a}
        history.append({"epoch": i + 1, "step": 10 * (i + 1), "test": tested} | of_epoch)
    final = {"test": {"mean": statistics.fmean(history[-1]["test"]["submodels"]), **history[-1]["test"]}}
    fields = experiment if isinstance(experiment, dict) else experiment.to_dict()
    sittings = sittings or [sitting(seconds=10.0 + seed)]
    seconds = sum(each["seconds"] for each in sittings)
    about = {"format": FORMAT, "experiment": fields, "seed": seed, "seconds": seconds}
    about |= made(sittings)
    return about | {"final": final, "history": history}


def run(*curve, seed=0, **rest):
    """A record of some experiment on the digits with these test accuracies, for what does not ask whose they are."""
    return record(Experiment(labels=20), seed, curve[-1], curve=curve, **rest)


def write(folder, experiment, accuracies, **rest):
    """Saves a record for each accuracy, seeds 0, 1, ..."""
    for seed, accuracy in enumerate(accuracies):
        results.save(record(experiment, seed, accuracy, **rest), folder)
