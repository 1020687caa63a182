"""The named data sets: how many images they have, of what shape, and what they are normalised with."""

from __future__ import annotations

from pathlib import Path

from pydantic.dataclasses import dataclass

from dnll_core.datafiles import read_toml
from dnll_core.fields import RULES, Count, Positive


@dataclass(frozen=True, kw_only=True, config=RULES)
class DataSet:
    """The constants of a data set.

    image: shape of one, (H, W) or (H, W, 3). train, test: numbers of images. validation: images per class kept for it.
    mean, std: per channel of images / 255; () where they are computed. sha256: of each array's bytes, in the order of
    `dataset.KEYS`, or (). title: how it is written, None for "the NAME".
    """

    image: tuple[Count, ...]
    train: Count
    test: Count
    validation: Count
    classes: tuple[str, ...] = tuple("0123456789")
    mean: tuple[Positive, ...] = ()
    std: tuple[Positive, ...] = ()
    sha256: tuple[str, ...] = ()
    title: str | None = None

    @property
    def free(self) -> int:
        """Training images that are not kept for validation."""
        return self.train - self.validation * len(self.classes)

    @property
    def downloaded(self) -> bool:
        """Whether its images are downloaded and prepared, see `prepared`; those of digits come with scikit-learn."""
        return bool(self.mean)


SETS = read_toml(Path(__file__).with_suffix(".toml"), dict[str, DataSet])
NAMES = tuple(SETS)
