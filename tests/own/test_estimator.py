"""`DNLLClassifier` keeps the rules of scikit-learn, trains as `train` does, and knows rows without a label."""

import pickle

import numpy as np
import pytest
import torch
from photos import texture
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from dnll_core import DNLLClassifier, Experiment, LabelledKFold, train
from dnll_core.config import ConfigError
from dnll_core.data.dataset import channel_statistics, dataset_of
from dnll_core.data.folds import without_label
from dnll_core.own.model import load_model
from dnll_core.study.folders import lengths, settings

NOT_KEPT = {
    "check_classifiers_classes": "-1 is a class there, and here marks a row without a label",
    "check_methods_subset_invariance": "float32 rounds differently in batches of another size",
}


@parametrize_with_checks([DNLLClassifier(steps=15, random_state=0)], expected_failed_checks=lambda estimator: NOT_KEPT)
def test_the_rules_of_scikit_learn(estimator, check):
    check(estimator)


STEPS = {"steps": 6, "random_state": 0}


def photos(colour=False, without=6):
    """24 textures of three classes, (N, 8, 8[, 3]) uint8, and labels; of the last rows -1."""
    kinds = [i % 3 for i in range(24)]
    images = np.stack([texture(k, i, (8, 8), colour) for i, k in enumerate(kinds)])
    return images, np.array(kinds[: 24 - without] + [-1] * without)


def mixed(seed=0, **how):
    """The same, rows with and without a label in any order."""
    images, y = photos(**how)
    order = np.random.RandomState(seed).permutation(len(y))
    return images[order], y[order]


# -- the same as train -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("without", [6, 0])
def test_it_is_train_to_the_bit(colour, without):
    images, y = photos(colour, without)
    order = np.random.RandomState(0).permutation(24)
    model = DNLLClassifier(**STEPS).fit(images[order], y[order])
    known = [i for i in order if y[i] >= 0] + [i for i in order if y[i] < 0]  # as they come, without a label last
    arrays = {"x_train": images[known], "y_train": y[known], "x_test": images[:0], "y_test": y[:0]}
    dataset = dataset_of("arrays", arrays, ("0", "1", "2"), *channel_statistics(images))
    object.__setattr__(dataset, "validates", False)
    fields = settings(3) | lengths(24 - without, without or 24, 6) | {"weak": "identity", "strong": "noise"}
    e = Experiment(dataset="folder:arrays", labels=None, **fields)
    run = train(e, 0, progress=False, load=lambda *_, **__: dataset)
    tensors = torch.from_numpy(images if colour else images[..., None]).permute(0, 3, 1, 2)
    expected = run.predict(tensors).double().numpy()
    assert np.array_equal(model.predict_proba(images), expected)
    assert np.array_equal(model.predict(images), expected.argmax(1))
    assert np.array_equal(model.transform(images), run.embed(tensors).double().numpy())
    assert model.n_iter_ == run.trainer.step >= 6
    assert model.model_.card.experiment == run.experiment.to_dict() | {"dataset": "folder"}


def test_all_shapes_of_images_are_the_same():
    images, y = mixed()
    expected = DNLLClassifier(**STEPS).fit(images, y).predict_proba(images)
    for given, shape in (
        (images[..., None], None),
        (images.reshape(24, 64), (8, 8)),
        (images.reshape(24, 64), (8, 8, 1)),
        (images.astype("int64"), None),
    ):
        model = DNLLClassifier(image_shape=shape, **STEPS)
        if given.dtype == np.uint8:
            assert np.array_equal(model.fit(given, y).predict_proba(given), expected)
            continue
        wide = given.copy()
        wide[0, 0, :2] = 0, 255  # the least and the largest number become level 0 and 255
        answers = model.fit(wide, y).predict_proba(wide)
        assert np.array_equal(answers, DNLLClassifier(**STEPS).fit(wide.astype("uint8"), y).predict_proba(wide))
    coloured, _ = mixed(colour=True)
    first = DNLLClassifier(**STEPS).fit(coloured, y).predict_proba(coloured)
    flat = DNLLClassifier(image_shape=(8, 8, 3), **STEPS).fit(coloured.reshape(24, -1), y)
    assert np.array_equal(flat.predict_proba(coloured.reshape(24, -1)), first)


def test_reals_have_the_levels_of_fit():
    images, y = mixed()
    images[0, 0, :2] = 0, 255
    scaled = images / 255.0 - 3
    model, plain = DNLLClassifier(**STEPS).fit(scaled, y), DNLLClassifier(**STEPS).fit(images, y)
    assert np.array_equal(model.predict_proba(scaled), plain.predict_proba(images))
    beyond = np.where(images == 255, 9.0, scaled)  # what lies outside is clipped
    assert np.array_equal(model.predict_proba(beyond), plain.predict_proba(images))


def test_the_seed_decides():
    images, y = mixed()
    seeds = [0, 0, 1, np.random.RandomState(5), np.random.RandomState(5)]
    first, again, other, drawn, redrawn = (
        DNLLClassifier(steps=6, random_state=seed).fit(images, y).predict_proba(images) for seed in seeds
    )
    assert np.array_equal(first, again) and np.array_equal(drawn, redrawn)
    assert not np.array_equal(first, other)


# -- rows without a label ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (np.array([0, -1, 2]), [False, True, False]),
        (np.array([0.0, -1.0, 1.0]), [False, True, False]),
        (np.array(["cat", "", "-1"]), [False, True, False]),
        (np.array(["cat", "", -1, "dog", 3], dtype=object), [False, True, True, False, False]),
        (np.array([True, False]), [False, False]),
    ],
)
def test_what_marks_a_row_without_a_label(y, expected):
    assert without_label(y).tolist() == expected


def test_labels_of_text():
    images, y = mixed()
    names = np.array(["cat", "dog", "hen", ""])[y]
    plain, model = DNLLClassifier(**STEPS).fit(images, y), DNLLClassifier(**STEPS).fit(images, names)
    assert model.classes_.tolist() == ["cat", "dog", "hen"] and model.model_.classes == ("cat", "dog", "hen")
    assert plain.classes_.tolist() == [0, 1, 2]
    assert np.array_equal(model.predict_proba(images), plain.predict_proba(images))
    assert model.predict(images).tolist() == [["cat", "dog", "hen"][k] for k in plain.predict(images)]
    data = model.fit(images, names.astype(object)).predict_proba(images)
    assert np.array_equal(data, plain.predict_proba(images))
    sparse = np.array([10, 500, 70, -1])[y]  # numbers that are no indices
    assert {*DNLLClassifier(**STEPS).fit(images, sparse).predict(images)} <= {10, 70, 500}


def test_unlabelled_rows_are_trained_with_and_not_scored():
    images, y = mixed()
    model, known = DNLLClassifier(**STEPS).fit(images, y), y >= 0
    assert model.model_.card.labels == known.sum() == 18
    answers = model.predict(images)
    right = sum(answers[i] == y[i] for i in range(24) if y[i] != -1)
    assert model.score(images, y) == right / 18
    weights = np.arange(24.0)
    expected = accuracy_score(y[known], answers[known], sample_weight=weights[known])
    assert model.score(images, y, weights) == pytest.approx(expected)
    alone = DNLLClassifier(**STEPS).fit(images[known], y[known])
    assert not np.array_equal(alone.predict_proba(images), model.predict_proba(images))
    with pytest.raises(ValueError, match="y has no label to compare with"):
        model.score(images[~known], y[~known])


def test_what_cannot_be_trained_with():
    images, y = mixed()
    for labels, message in (
        (np.full(24, -1), "y has no label: all of its 24 rows"),
        (np.full(24, ""), "y has no label"),
        (np.where(y == 1, 1, -1), "y has one class, "),
        (np.linspace(0, 1, 24), "Unknown label type"),
        (y[:-1], "inconsistent numbers of samples"),
    ):
        with pytest.raises(ValueError, match=message):
            DNLLClassifier(**STEPS).fit(images, labels)
    with pytest.raises(ConfigError, match="method='dnl' is not known"):
        DNLLClassifier("dnl", **STEPS).fit(images, y)
    with pytest.raises(ConfigError, match="field='lrr' is not known"):
        DNLLClassifier(settings={"lrr": 1}, **STEPS).fit(images, y)
    with pytest.raises(ConfigError, match="m"):
        DNLLClassifier(m=3, **STEPS).fit(images, y)
    with pytest.raises(NotFittedError):
        DNLLClassifier().predict(images)


# -- with scikit-learn -------------------------------------------------------------------------------------------------


def test_folds_test_on_rows_with_a_label_alone():
    images, y = mixed(without=9)
    y = np.where(y == 2, 1, y)
    known = np.flatnonzero(y >= 0)
    splits = [*LabelledKFold(3).split(images, y)]
    plain = [*StratifiedKFold(3).split(known, y[known])]
    assert len(splits) == LabelledKFold(3).get_n_splits() == 3
    for (kept, held), (_, expected) in zip(splits, plain, strict=True):
        assert held.tolist() == known[expected].tolist()
        assert sorted([*kept, *held]) == [*range(24)] and kept.tolist() == sorted(kept)
        assert {*np.flatnonzero(y < 0)} <= {*kept}
    assert sorted(np.concatenate([held for _, held in splits])) == known.tolist()
    shuffled = LabelledKFold(3, shuffle=True, random_state=1)
    text = np.array(["a", "b", ""])[y]
    for (_, one), (_, other) in zip(shuffled.split(images, y), shuffled.split(images, text), strict=True):
        assert np.array_equal(one, other)


def test_a_search_is_a_loop_by_hand():
    images, y = mixed()
    values, cv = [0.1, 1.0, 5.0], LabelledKFold(2)
    search = GridSearchCV(DNLLClassifier(**STEPS), {"lam": values}, cv=cv).fit(images, y)
    expected = []
    for lam in values:
        scores = []
        for kept, held in cv.split(images, y):
            model = DNLLClassifier(lam=lam, **STEPS).fit(images[kept], y[kept])
            scores.append(np.mean(model.predict(images[held]) == y[held]))
        expected.append(np.mean(scores))
    assert search.cv_results_["mean_test_score"].tolist() == pytest.approx(expected)
    assert search.best_params_ == {"lam": values[int(np.argmax(expected))]}
    best = DNLLClassifier(**STEPS, **search.best_params_).fit(images, y)
    assert np.array_equal(search.predict_proba(images), best.predict_proba(images))


def test_clone_parameters_and_pickle():
    images, y = mixed()
    model = DNLLClassifier("mean-teacher", lam=0.5, settings={"lr": 0.05}, **STEPS)
    assert model.get_params()["settings"] == {"lr": 0.05} and clone(model).get_params() == model.get_params()
    assert model.set_params(lam=2.0).lam == 2.0
    fitted = model.fit(images, y)
    for again in (pickle.loads(pickle.dumps(fitted)), clone(fitted).fit(images, y)):
        assert np.array_equal(again.predict_proba(images), fitted.predict_proba(images))
    with pytest.raises(NotFittedError):
        clone(fitted).predict(images)


def test_in_a_pipeline():
    images, y = mixed()
    halves = make_pipeline(FunctionTransformer(lambda x: x[:, ::2, ::2]), DNLLClassifier(**STEPS))
    answers = halves.fit(images, y).predict_proba(images)
    expected = DNLLClassifier(**STEPS).fit(images[:, ::2, ::2], y).predict_proba(images[:, ::2, ::2])
    assert np.array_equal(answers, expected)
    assert len(cross_val_score(halves, images, y, cv=LabelledKFold(2))) == 2
    names = DNLLClassifier(**STEPS).fit(images, y).get_feature_names_out()
    assert len(names) == 64 and names[0] == "dnllclassifier0"


@pytest.mark.parametrize("method", ["supervised", "mean-teacher", "fixmatch", "mixmatch", "dual-student+dnll"])
def test_any_method_by_its_name(method):
    images, y = mixed()
    model = DNLLClassifier(method, **STEPS).fit(images, y)
    assert model.model_.card.method == method
    p = model.predict_proba(images)
    assert p.shape == (24, 3) and p.sum(1) == pytest.approx(1, abs=1e-6)


def test_other_fields_of_an_experiment():
    images, y = mixed()
    model = DNLLClassifier(settings={"epochs": 3, "unlabelled_batch": 2, "lr": 0.01}, **STEPS).fit(images, y)
    assert model.n_iter_ == 3 * (6 // 2)
    told = model.model_.card.experiment
    assert (told["epochs"], told["lr"], told["unlabelled_batch"]) == (3, 0.01, 2)


def test_a_table_of_numbers_and_a_model_that_is_kept(tmp_path):
    chance = np.random.RandomState(0)
    y = np.arange(30) % 2
    x = chance.randn(30, 5) + 4 * y[:, None]
    model = DNLLClassifier(steps=60, random_state=0).fit(x, np.where(chance.rand(30) < 0.5, y, -1))
    assert model.score(x, y) > 0.9 and model.n_features_in_ == 5
    kept = load_model(model.model_.save(tmp_path))
    images = model._read(x)
    assert np.array_equal(kept.probabilities(images).double().numpy(), model.predict_proba(x))
    with pytest.raises(ValueError, match="5 features"):
        model.predict(x[:, :4])
