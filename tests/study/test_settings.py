"""The file of settings is checked when it is loaded, and one function takes a method to another data set."""

from pathlib import Path

import pytest

from dnll_core.config import ConfigError, Experiment
from dnll_core.study import settings
from dnll_core.study.settings import laptop, on, published, quick, read

FILE = Path(settings.__file__).with_suffix(".toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("published = { m = 3,", "published = { n = 3,", "in [methods.dnll.published] field='n' is not known"),
        ("logit_distance = 0.08", "logit_distance = -1", "in [methods.dual-student.published_on.mnist] logit_distance"),
        ('{ strong = "noise" }', '{ strong = "nois" }', "in [readings.4.noise] strong: "),
        ('"methods-vat"', '"methods-vta"', "in [methods.vat.digits] search='methods-vta' is not known. Did you mean"),
        ('"digits-dnll-3"', '"digits-dnll-1"', "in [quickstart.dnll] 'digits-dnll-1': nothing was chosen"),
        ('title = "VAT"', 'titel = "VAT"', "in [methods.vat] field='titel' is not known. Did you mean 'title'?"),
        (
            '1000 = "table1-dual-student", ',
            "",
            "in [methods.dual-student] cifar10 takes searches for [1000, 4000], not [4",
        ),
        ('1000 = "table1-dual-student"', 'all = "table1-dual-student"', "in [methods.dual-student] cifar10.all"),
        ("svhn = 28", "svhn = 0", "epochs.short.svhn: Input should be greater than or equal to 1, not 0"),
        ("[quickstart]", "[quick]\n[quickstart]", "field='quick' is not known"),
    ],
)
def test_what_the_file_of_settings_may_not_say_is_named(tmp_path, old, new, told):
    assert FILE.count(old) == 1
    path = tmp_path / "settings.toml"
    path.write_text(FILE.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        read(path)
    assert str(path) in str(refused.value) and told in str(refused.value)


@pytest.mark.parametrize(
    "experiment", [quick("dnll", "mnist"), laptop("dnll", "usps"), published("dnll", "svhn", "cnn13")]
)
def test_a_folder_may_have_two_classes(experiment):
    assert experiment.m == 3
    moved = on(experiment, "folder:some")
    assert (moved.m, moved.selection) == (1, "ep")
    assert (moved.weak, moved.strong) == (
        Experiment(dataset="folder:some").weak,
        Experiment(dataset="folder:some").strong,
    )
    assert on(experiment, "cifar10").m == 3
    supervised = quick("supervised", "mnist").replace(m=2)
    assert on(supervised, "folder:some").m == 2
