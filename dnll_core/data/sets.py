"""The named data sets: where their images come from, how many there are, and what they are normalised with."""

from __future__ import annotations

from dataclasses import dataclass

DIGIT_CLASSES = tuple("0123456789")
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Source:
    """What a prepared file holds: the numbers of images, the shape of one, and the constants of the data set."""

    train: int
    test: int
    image: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...] = DIGIT_CLASSES


# mean and std: the constants in common use for mnist, cifar10 and svhn; for usps computed from its training images.
SOURCES = {
    "mnist": Source(60_000, 10_000, (28, 28), (0.1307,), (0.3081,)),
    "usps": Source(7291, 2007, (16, 16), (0.2539,), (0.3842,)),
    "cifar10": Source(50_000, 10_000, (32, 32, 3), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), CIFAR10_CLASSES),
    "svhn": Source(73_257, 26_032, (32, 32, 3), (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
}
# Of each array's bytes, in the order of KEYS. svhn has none: Torchvision's checksums of its files are the only guard.
SHA256 = {
    "mnist": (
        "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    ),
    "usps": (
        "87159875f8e208c212271223523eeaa2dd7baf9c955fd85d322cd91298947bbc",
        "ee5027fd47b76715ac18ca27e72fa1332bde98e0b8ce593b503bb2bdb6c03da0",
        "50a3de652fde8265b1be6de031e1449d2ee1e59bb52be7bbf8faf73b789f8768",
        "0b8b792b8ca1c5c704fd9d5bbd1b261623a359e6c8c65b23db428257beea7800",
    ),
    "cifar10": (
        "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
        "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
        "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
        "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
    ),
}
NAMES = ("digits", "digits-source", "digits-target", *SOURCES)

# Images per class kept for validation. cifar10, svhn, mnist: section 4.1 of the paper (5000, 5000 and 500 images in
# all). The paper splits neither digits nor usps. A folder gives a tenth of each class, and at least one image.
VALIDATION_PER_CLASS = {"cifar10": 500, "svhn": 500, "mnist": 50, "usps": 50, "digits": 20}
IMAGES = {"digits": (1297, 500)} | {name: (source.train, source.test) for name, source in SOURCES.items()}
SHAPES = {"digits": (8, 8)} | {name: source.image for name, source in SOURCES.items()}  # (H, W) or (H, W, 3)
