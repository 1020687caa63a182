"""Pictures of images and views, and Figure 1."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from ipywidgets import Button, Dropdown, GridBox, HBox, Label, VBox, Widget
from ipywidgets import Image as Picture
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor, arange, cat, from_numpy, uint8
from torch.nn.functional import avg_pool2d

from dnll_core.common import printable
from dnll_core.figures.style import BLACK, BLUE, METHODS, ORANGE, RED, TEXT, canvas, for_a_kernel, tint

LETTERS = 12  # of font size 9, in an inch


def spaced(items: Tensor, most: int) -> Tensor:
    """(N, ...) -> at most `most` of the items, evenly spaced from the first on, in their order.

    A folder's images are sorted by class: among its first N there may be a single one.
    """
    n = min(most, len(items))
    return items[arange(n) * len(items) // max(n, 1)]


def _some(images: Sequence) -> int:
    """How many there are. Raises ValueError for none, of which Matplotlib cannot make a grid."""
    if not len(images):
        raise ValueError("images: there are none, and a picture needs at least one.")
    return len(images)


def short(name: str, letters: int) -> str:
    """A class name that fits: of a longer one the first letters and an ellipsis."""
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def _draw(axis: Axes, image: np.ndarray, ink: bool, **where) -> None:
    """One image. ink: grey levels as on paper, 0 white, from its own least to its largest; else 0 black, 255 white."""
    looks = {"cmap": "gray_r"} if ink else {"cmap": "gray", "vmin": 0, "vmax": 255}
    axis.imshow(image, interpolation="nearest", **looks, **where)


def colour_images(n: int = 8) -> Tensor:
    """Small colour photographs to augment, (n, 3, 32, 32) uint8, cut from the two that come with scikit-learn."""
    squares = []
    for name in ("china.jpg", "flower.jpg"):
        photo = from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)[None].float()  # (1, 3, 427, 640)
        squares += [photo[..., y : y + 192, x : x + 192] for y in (0, 192) for x in (0, 192, 384)]
    of_both = [squares[5 * i % len(squares)] for i in range(n)]  # 5 and 12 have no common factor: all of them in turn
    return cat([avg_pool2d(square, 6).round().to(uint8) for square in of_both])


def shown_views(views: Tensor, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Normalised views (N, C, H, W) float32 as `imshow` wants them: (N, H, W) or (N, H, W, 3) in [0, 1]."""
    pixels = views * views.new_tensor(std).view(1, -1, 1, 1) + views.new_tensor(mean).view(1, -1, 1, 1)
    array = pixels.clamp(0, 1).permute(0, 2, 3, 1).numpy()
    return array[..., 0] if array.shape[-1] == 1 else array


def channels_last(images: Tensor) -> np.ndarray:
    """(C, H, W) or (N, C, H, W) uint8 as `imshow` wants it: (..., H, W) grey or (..., H, W, 3) colour."""
    array = np.moveaxis(images.numpy(), -3, -1)
    return array[..., 0] if array.shape[-1] == 1 else array


def idea(
    image: np.ndarray, classes: Sequence[str], kind: int, accuracy: float, negatives: int = 1, ink: bool = True
) -> Figure:
    """Figure 1 redrawn: what one submodel tells the other, and how often that is wrong (Theorem 3.1).

    Args:
        image: (H, W) grey or (H, W, 3).
        classes: names of the K classes.
        kind: the class in the image.
        accuracy: q, of the submodel that speaks, 0...1.
        negatives: m.
        ink: see `image_grid`.
    """
    wrong, K = 1 - accuracy, len(classes)
    # each submodel draws its own negatives: two different ones, where there are two other classes
    others = [(kind + shift) % K for shift in (2 % K or 1, 5 % K or 1)]
    if K > 2 and (kind in others or others[0] == others[1]):
        others = [(kind + 1) % K, (kind + 2) % K]
    said = "one negative label" if negatives == 1 else f"{negatives} negative labels"
    panels = [
        ("Mutual learning: pseudo-labels", [f"“This is: {short(classes[kind], LETTERS)}.”"] * 2, ORANGE, wrong, ""),
        (
            "DNLL: pseudo-negative labels",
            [f"“This is not: {short(classes[other], LETTERS)}.”" for other in others],
            BLUE,
            wrong * negatives / (K - 1),
            f"({K} classes, {said})",
        ),
    ]
    with canvas(1, 2, (9.5, 3.1)) as (figure, axes):
        for axis, (title, messages, color, error, about) in zip(axes, panels):
            axis.set(xlim=(0, 10), ylim=(0, 5), title=title)
            axis.axis("off")
            _draw(axis, image, ink, extent=(0.1, 1.9, 2.1, 3.9), aspect="auto")
            for x, name in ((2.75, "submodel 1"), (7.6, "submodel 2")):
                box = FancyBboxPatch((x, 2.4), 2.1, 1.2, boxstyle="round,pad=0.1", facecolor="white", edgecolor=BLACK)
                axis.add_patch(box)
                axis.text(x + 1.05, 3.0, name, ha="center", va="center")
            sees = {"arrowstyle": "-|>", "mutation_scale": 10, "color": TEXT, "linewidth": 1.1}
            axis.add_patch(FancyArrowPatch((1.95, 3.0), (2.62, 3.0), shrinkA=0, shrinkB=0, **sees))
            # past the first submodel to the second
            round_it = {"connectionstyle": "bar,angle=180,fraction=-0.13", "shrinkA": 0, "shrinkB": 0}
            axis.add_patch(FancyArrowPatch((1.0, 3.95), (8.65, 3.75), **sees, **round_it))
            ways = ((3.35, ((5.0, 3.35), (7.45, 3.35))), (2.65, ((7.45, 2.65), (5.0, 2.65))))
            for (y, ends), message in zip(ways, messages):
                if len(message) > 17:  # between the boxes there is room for the name of a digit
                    message = message.replace(": ", ":\n", 1)
                axis.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=14, color=color, linewidth=1.6))
                gap, grows = (0.18, "bottom") if y > 3 else (-0.18, "top")
                place = {"ha": "center", "va": grows, "fontsize": 9.5}
                axis.text(6.22, y + gap, message, color=tint(color, -0.3), **place)
            text = f"wrong {error:.1%} of the time"
            axis.text(5, 1.2, text, ha="center", color=tint(color, -0.3), weight="bold", fontsize=12)
            axis.text(5, 0.62, about, ha="center", fontsize=9)
            text = f"if the submodel is right about {accuracy:.0%} of the images"
            axis.text(5, 0.12, text, ha="center", fontsize=9)
    return figure


def image_grid(
    images: np.ndarray, titles: Sequence[str], columns: int = 10, scale: float = 0.8, ink: bool = True
) -> Figure:
    """Small images with a title each, cut to the width of an image.

    Args:
        images: (N, H, W) grey or (N, H, W, 3), uint8 or 0...1.
        scale: inches of an image's side.
        ink: grey images are of something on paper, and drawn so; else their level 0 is black.

    Raises:
        ValueError: for no image.
    """
    rows = -(-_some(images) // columns)
    with canvas(rows, columns, (columns * scale, rows * scale * 1.25), squeeze=False) as (figure, axes):
        for axis in axes.flat:
            axis.axis("off")
        for axis, image, title in zip(axes.flat, images, titles):
            _draw(axis, image, ink)
            axis.set_title(short(title, round(LETTERS * scale)), fontsize=9)
    return figure


def opinions(
    images: np.ndarray,
    truth: Sequence[int],
    answers: dict[str, Sequence[int]],
    classes: Sequence[str],
    ink: bool = True,
) -> Figure:
    """Test images with what each method says below them, wrong answers in red. Long class names are cut.

    Args:
        images: (N, H, W) grey or (N, H, W, 3).
        truth: (N,) true classes.
        answers: key of METHODS -> (N,) predicted classes.
        ink: see `image_grid`.

    Raises:
        ValueError: for no image.
    """
    n, names = _some(images), [short(name, LETTERS) for name in classes]
    with canvas(1, n, (1.0 * n + 1.6, 1.35 + 0.24 * len(answers)), squeeze=False) as (figure, axes):
        for i, axis in enumerate(axes.flat):
            _draw(axis, images[i], ink)
            axis.set(xticks=[], yticks=[])
            axis.set_title(short(f"true {classes[truth[i]]}", LETTERS + 2), fontsize=9)
            for row, (name, predicted) in enumerate(answers.items()):
                right = predicted[i] == truth[i]
                y = -0.18 - 0.22 * row
                style = {"color": BLACK if right else RED, "weight": "normal" if right else "bold"}
                axis.text(0.5, y, names[predicted[i]], transform=axis.transAxes, ha="center", va="center", **style)
                if i == 0:
                    label = METHODS[name].label
                    axis.text(-0.25, y, label, transform=axis.transAxes, ha="right", va="center", fontsize=9)
    return figure


def view_rows(
    rows: dict[str, np.ndarray], titles: dict[str, Sequence[str]] | None = None, scale: float = 0.72
) -> Figure:
    """Images in labelled rows, on one scale of brightness.

    Args:
        rows: label -> (N, H, W) grey or (N, H, W, 3) colour.
        titles: label -> what stands above each image of that row.

    Raises:
        ValueError: for a row without an image.
    """
    columns = max(map(_some, rows.values()))
    low, high = min(x.min() for x in rows.values()), max(x.max() for x in rows.values())
    size = (columns * scale + 1.7, len(rows) * scale * (1.3 if titles else 1))
    with canvas(len(rows), columns, size, squeeze=False) as (figure, axes):
        for axis in axes.flat:
            axis.axis("off")
        for line, (label, images) in zip(axes, rows.items()):
            line[0].text(-0.15, 0.5, label, transform=line[0].transAxes, ha="right", va="center")
            for axis, image, title in zip(line, images, (titles or {}).get(label, [""] * columns)):
                axis.imshow(image, cmap="gray_r", vmin=low, vmax=high, interpolation="nearest")
                axis.set_title(title, fontsize=9)
    return figure


def contact_sheet(images: Tensor, titles: Sequence[str], most: int = 60) -> Figure:
    """At most so many of some images, evenly spaced, ten in a row with a title each: (N, C, H, W) uint8."""
    which = spaced(arange(len(images)), most)
    pixels = channels_last(images[which].cpu())
    titles = [printable(titles[i]).replace("$", r"\$") for i in which]  # no formulas: they are names of folders
    return image_grid(pixels, titles, columns=min(10, len(which)), scale=1.1, ink=False)


def widgets_to_label(images: Tensor, classes: Sequence[str], done: Callable[[list[str]], str]) -> Widget:
    """A grid for JupyterLab: each image with a list of the classes, and a button.

    done: is given what was chosen for each image ("" for nothing), and returns what to say below.
    """
    lists = [Dropdown(options=["", *classes], layout={"width": "110px"}) for _ in images]
    button, said = Button(description="write the table"), Label()

    def clicked(_: Button) -> None:
        said.value = done([each.value for each in lists])

    button.on_click(clicked)
    cells = []
    for image, choice in zip(images, lists):
        png = io.BytesIO()
        Image.fromarray(channels_last(image)).save(png, "png")
        cells.append(VBox([Picture(value=png.getvalue(), width=96, height=96), choice]))
    return for_a_kernel([GridBox(cells, layout={"grid_template_columns": "repeat(5, 130px)"}), HBox([button, said])])
