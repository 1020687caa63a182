"""Run records made up for tests: of any experiment, with the accuracies and measures that a test wants."""

import statistics

from dnll_core import results


def record(experiment, seed, accuracy, curve=None, **measures):
    """A record whose last epoch has this test accuracy 0...1.

    Args:
        curve: test accuracies of all epochs, the last one replaced by `accuracy`; by default constant, three epochs.
        measures: name -> value in every epoch.
    """
    curve = [*(curve or [accuracy] * 3)[:-1], accuracy]
    history = [
        {"epoch": i + 1, "test": {"submodels": [a - 0.01, a + 0.01], "ensemble": a}} | measures
        for i, a in enumerate(curve)
    ]
    final = {"test": {"mean": statistics.fmean(history[-1]["test"]["submodels"]), **history[-1]["test"]}}
    fields = {"experiment": experiment.to_dict(), "seed": seed, "device": "a device", "seconds": 10.0 + seed}
    return fields | {"final": final, "history": history}


def write(folder, experiment, accuracies, **rest):
    """Saves a record for each accuracy, seeds 0, 1, ..."""
    for seed, accuracy in enumerate(accuracies):
        results.save(record(experiment, seed, accuracy, **rest), folder)
