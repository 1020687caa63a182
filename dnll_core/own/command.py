"""dnll: from a folder of images and few labels to a model, its predictions, and what to label next.

example:
  dnll train pets --out pets.model
  dnll predict pets.model "new photos" --csv answers.csv
  dnll label pets.model pets -n 10          (fill in the column "class" of label.csv, then)
  dnll train pets --labels label.csv --out pets2.model
"""

from __future__ import annotations

import argparse
import functools
import shlex
import sys
from pathlib import Path

from dnll_core.checkpoint import CheckpointError
from dnll_core.common import NoHome, as_on_disk, atomic_file, positive, program, tell, user_path
from dnll_core.config import METHODS, ConfigError
from dnll_core.data.entries import images_of, outside
from dnll_core.data.errors import DataError
from dnll_core.data.labels import read_labels, write_table
from dnll_core.figures.images import contact_sheet
from dnll_core.figures.style import save
from dnll_core.own.folder import train_folder
from dnll_core.own.label import to_label
from dnll_core.own.model import ModelError, load_model
from dnll_core.study.choosing import RULES
from dnll_core.study.folders import STEPS
from dnll_core.trainer import TrainingDiverged

EXAMPLES = {
    "train": "dnll train pets --labels labels.csv --out pets.model",
    "predict": 'dnll predict pets.model "new photos" --csv answers.csv',
    "label": "dnll label pets.model pets -n 10 --csv label.csv",
}


def folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("takes the path of a folder of images, not ''; '.' is the one you are in")
    return user_path(text)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    whole = program("dnll_core", __doc__)
    whole.prog = "dnll"
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = functools.partial(commands.add_parser, formatter_class=argparse.RawDescriptionHelpFormatter)
    of = {
        name: add(name, help=text, description=text, epilog=f"example:\n  {EXAMPLES[name]}")
        for name, text in (
            ("train", "train on a folder; the same command goes on after an interruption"),
            ("predict", "file, class, probability and margin of each image of a folder, the most doubtful first"),
            ("label", "pick the images worth a label, as a sheet to look at and a table to fill in"),
        )
    }
    own = of["train"].add_argument
    own("folder", type=folder, help="one sub-folder per class, or images beside --labels; see data/README.md")
    own("--out", type=user_path, required=True, help="folder of the model, with checkpoints and reports")
    own("--labels", type=user_path, metavar="CSV", action="append", help="columns file and class; may be given again")
    own("--all", action="store_true", help="train on every label; five trainings without a fifth say how good that is")
    own("--method", choices=METHODS, default="dnll", metavar="NAME", help=f"{', '.join(METHODS)}")
    own("--size", type=positive, default=32, help="pixels of a side that images are resized to (32)")
    own("--steps", type=positive, default=STEPS, help=f"training steps, at least ({STEPS})")
    own("--weak", default="auto", help='distortion of all images (crop); "crop+flip" where left and right mean nothing')
    own("--strong", default="auto", help='of unlabelled ones to learn on (crop+jitter); "crop+flip+jitter", ...')
    own("--network", default="small", help="small (the default), cnn6, cnn13 or wrn28-2, which needs a GPU")
    own("--seed", type=int, default=0, help="of splits, networks and batches (0)")
    for name in ("predict", "label"):
        of[name].add_argument("model", type=user_path, help="folder that `dnll train` wrote")
        of[name].add_argument("folder", type=folder, help="of images, at any depth")
    of["predict"].add_argument("--csv", type=user_path, help="file to write; without it the table is printed")
    own = of["label"].add_argument
    own("-n", type=positive, default=10, help="how many (10)")
    own(
        "--rule",
        choices=RULES,
        default=RULES[0],
        help="centres (the default; all kinds there are), margin (the most doubtful), random",
    )
    own("--labels", type=user_path, metavar="CSV", action="append", help="known labels, left out here; as for train")
    own("--csv", type=user_path, default=Path("label.csv"), help="table to fill in (label.csv); the sheet is beside it")
    return whole


def _train(options: argparse.Namespace) -> None:
    same = ("method", "weak", "strong", "network", "labels", "out", "seed", "size", "steps")
    asked = {name: getattr(options, name) for name in same} | {"say": functools.partial(tell, flush=True)}
    done = train_folder(options.folder, every_label=options.all, **asked)
    data = done.run.trainer.learner.data
    save(contact_sheet(data.labelled, [done.model.classes[k] for k in data.targets]), options.out / "labelled.png")
    for name, text in (("confusion.csv", done.confusion.to_csv()), ("report.txt", "\n".join(done.lines) + "\n")):
        with atomic_file(options.out / name) as file:
            file.write(as_on_disk(text))
    tell(f"rows are true classes, columns predicted ones:\n{done.confusion}\nwritten to {options.out}")


def _predict(options: argparse.Namespace) -> None:
    answers = load_model(options.model).predict(options.folder, progress=True).sort_values("margin", kind="stable")
    if options.csv is None:
        tell(answers.to_string(float_format="%.4f"))
        return
    path, text = options.csv, answers.to_csv(float_format="%.4f")
    if path.exists() and not (path.is_file() and path.read_bytes().startswith(text.partition("\n")[0].encode())):
        raise DataError(f"{path} is there already, and no table of predictions; name another file")
    with atomic_file(options.csv) as file:
        file.write(as_on_disk(text))
    tell(f"{len(answers)} images, the most doubtful first: {options.csv}")


def _label(options: argparse.Namespace) -> None:
    model, known = load_model(options.model), ()
    outside(options.csv, options.folder)
    sheet = options.csv.with_name(f"{options.csv.stem}.png")
    if there := [path for path in (options.csv, sheet) if path.exists() or options.csv == sheet]:
        raise DataError(f"{there[0]} is there already, perhaps with labels in it, or no CSV; name another table")
    if options.labels:
        known = read_labels(options.labels).among({*images_of(options.folder)[1]}, options.folder)
    answers, images = to_label(model, options.folder, options.n, options.rule, known, progress=True)
    table = write_table(answers, options.csv)
    save(contact_sheet(images, [f"{i} {name}?" for i, name in enumerate(answers["class"], start=1)]), sheet)
    tables = " ".join(f"--labels {shlex.quote(str(path))}" for path in (*(options.labels or ()), table))
    tell(
        f"{len(answers)} images: look at {sheet} (row by row as in the table, with the model's guess), fill in the "
        f"column 'class' of {table} with {', '.join(model.classes)}, and give it, with those before, to\n"
        f"dnll train {shlex.quote(str(options.folder))} {tables} --out ..."
    )


def main(words: list[str] | None = None) -> None:
    """Runs the command line. What is wrong with input is one line on stderr and exit status 2."""
    options = parser().parse_args(words)
    try:
        {"train": _train, "predict": _predict, "label": _label}[options.command](options)
    except (DataError, ModelError, ConfigError, CheckpointError, TrainingDiverged, NoHome, OSError) as error:
        tell(f"dnll {options.command}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as error:
        tell(f"dnll {options.command}: {error or 'stopped'}", file=sys.stderr)
        sys.exit(130)
