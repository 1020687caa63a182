"""The settings that the paper does not state, from `settings.toml`: published, or chosen by a search of `searches`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from dnll_core.config import ConfigError, Experiment
from dnll_core.datafiles import read_toml
from dnll_core.fields import RULES, Count
from dnll_core.methods.classical import Classical
from dnll_core.study.searches import SEARCHES, chosen

Changes = dict[str, object]  # fields of `Experiment`


@dataclass(frozen=True, kw_only=True, config=RULES)
class Method:
    """What a method is called, its published settings, and which searches chose others; the file says more."""

    title: str = ""
    row: str = ""
    published: Changes | None = None
    published_on: dict[str, Changes] = Field(default_factory=dict)
    digits: str = ""
    mnist: str = ""
    cifar10: dict[Count, str] = Field(default_factory=dict)

    @property
    def searches(self) -> dict[str, str]:
        """Those that are named, by what names them."""
        named = {"digits": self.digits, "mnist": self.mnist}
        named |= {f"cifar10.{labels}": search for labels, search in self.cifar10.items()}
        return {place: search for place, search in named.items() if search}


class Reading(NamedTuple):
    """How the views of section 4.2 may be read: fields of `Experiment`, and what they are."""

    views: Changes
    note: str


@dataclass(frozen=True, config=RULES)
class _File:
    methods: dict[str, Method]
    quickstart: dict[str, str]
    adaptation: dict[str, str]
    epochs: dict[str, dict[str, Count]]
    readings: dict[str, dict[str, Reading]]


def read(path: Path) -> _File:
    """The settings of a file that is written as `settings.toml` says.

    Raises:
        ConfigError: naming the file, what it has, and what is accepted.
    """
    file = read_toml(path, _File)
    changes = {f"methods.{name}.published": method.published or {} for name, method in file.methods.items()}
    changes |= {
        f"methods.{name}.published_on.{data}": own
        for name, method in file.methods.items()
        for data, own in method.published_on.items()
    }
    changes |= {f"readings.{t}.{name}": own.views for t, of in file.readings.items() for name, own in of.items()}
    searches = {
        f"methods.{name}.{place}": search
        for name, method in file.methods.items()
        for place, search in method.searches.items()
    }
    searches |= {f"quickstart.{name}": search for name, search in file.quickstart.items()}
    searches |= {f"adaptation.{name}": search for name, search in file.adaptation.items()}
    for place, own in (changes | searches).items():
        try:
            chosen(own) if isinstance(own, str) else Experiment(**own)
        except ConfigError as error:
            raise ConfigError(f"{path}: in [{place}] {error}") from None
    numbers = {name: [*method.cifar10] for name, method in file.methods.items() if method.cifar10}
    for name, own in numbers.items():
        if own != numbers["dnll"]:
            raise ConfigError(f"{path}: in [methods.{name}] cifar10 takes searches for {numbers['dnll']}, not {own}.")
    return file


_FILE = read(Path(__file__).with_suffix(".toml"))
NAMED = _FILE.methods
TITLES = {name: method.title for name, method in NAMED.items() if method.title}
READINGS = {int(table): of for table, of in _FILE.readings.items()}
EPOCHS = _FILE.epochs  # profile -> kind of data -> passes over the unlabelled images; "as-long": method -> passes

# What the searches chose: for every method on the digits, for the quickstart, for domain adaptation, and on two CPU
# cores for Table 4, for each number of labels of Table 1, and for each m of Tables 5 and 6.
METHODS = {name: chosen(method.digits) for name, method in NAMED.items() if method.digits}
QUICKSTART: dict[str, Experiment | Classical] = {name: chosen(search) for name, search in _FILE.quickstart.items()}
ADAPTATION_CHOSEN = {name: chosen(search) for name, search in _FILE.adaptation.items()}
LAPTOP_START = chosen("laptop-start")
LAPTOP_CHOSEN = {name: chosen(method.mnist) for name, method in NAMED.items() if method.mnist}
CIFAR_CHOSEN = {
    labels: {name: chosen(method.cifar10[labels]) for name, method in NAMED.items() if labels in method.cifar10}
    for labels in NAMED["dnll"].cifar10
}
OWN_WEIGHTS = {m: chosen(f"cifar10-m{m}") for m in (1, 2, 3, 4)}

RAMPS = ("ramp_epochs", "consistency_ramp_epochs", "stabilisation_ramp_epochs")


def at_length(experiment: Experiment, epochs: int) -> Experiment:
    """The experiment in another number of epochs; each ramp keeps its share of the run."""
    ramps = {name: getattr(experiment, name) * epochs / experiment.epochs for name in RAMPS}
    return experiment.replace(epochs=epochs, **ramps)


def on(experiment: Experiment, dataset: str, **changes) -> Experiment:
    """The experiment on another data set, with the views of section 4.2 for it and `changes`.

    A folder may have two classes, so negatives of its images are one each, drawn evenly.
    """
    fields = {"dataset": dataset, "weak": "auto", "strong": "auto", **changes}
    if experiment.method == "dnll" and dataset.startswith("folder:"):
        fields |= {"m": 1, "selection": "ep"}
    return experiment.replace(**fields)


def published(method: str, dataset: str, network: str) -> Experiment:
    """A method with its published settings, at the paper's length, with the views of section 4.2."""
    own = NAMED[method]
    fields = (own.published or {}) | own.published_on.get(dataset, {})
    return on(Experiment(method=method.removesuffix("-randaugment"), network=network), dataset, **fields)


def quick(method: str, dataset: str) -> Experiment:
    """What the searches chose on the digits, in fewer epochs; for DNLL with m = 3, Table 5's best."""
    kind = dataset.partition(":")[0]
    changes = {"m": 3} if method == "dnll" else {}
    if kind not in ("cifar10", "svhn", "folder"):
        changes["strong"] = METHODS[method].strong  # grey digits keep the noise that the searches preferred
    of_kind = EPOCHS["quick"]
    epochs = of_kind["digits"] if kind.startswith("digits") else of_kind.get(kind, of_kind["others"])
    return on(at_length(METHODS[method], epochs), dataset, **changes)


def laptop(method: str, dataset: str) -> Experiment:
    """What the searches chose on MNIST with twenty labels and the small network, for Table 4 on two CPU cores.

    Methods that Table 4 has not take what was chosen for them on the digits, whole. Other data sets than MNIST keep
    their size and views.
    """
    experiment = LAPTOP_CHOSEN.get(method) or LAPTOP_START.replace(**{"m": 1, **chosen_changes(method)})
    experiment = at_length(experiment, EPOCHS["laptop"]["mnist"])
    return experiment if dataset == "mnist" else on(experiment, dataset, size=None)


def chosen_changes(method: str) -> dict[str, object]:
    """All that makes the choice for a method of METHODS, to be put on another start: nothing is picked by name.

    Every field that its search tried, whether the best trial changed it or kept it, and every field in which the
    search's start is the method's own, as `teaching="mutual"` is mutual learning's.
    """
    search = SEARCHES[NAMED[method].digits]
    common = SEARCHES[NAMED["dnll"].digits].start.replace(strong="noise").to_dict()
    own = {name for name, value in search.start.to_dict().items() if value != common[name]}
    tried = {name for changes in search.candidates for name in changes}
    return {name: value for name, value in METHODS[method].to_dict().items() if name in own | tried}
