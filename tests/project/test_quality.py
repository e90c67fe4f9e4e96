"""benchmarks/quality with judges that learn from a few images: its numbers, its report, and what it refuses."""

import json

import numpy as np
import pytest
import torch

from fastblackout.data import Dataset, load
from fastblackout.evaluation.features import Features
from support.mnist import digit_files

EARLY, MEAN = "steps=2 grid=early", "steps=3 grid=early guidance=0 last_step=mean"


@pytest.fixture(autouse=True)
def as_many_threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def some(count, classes, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 9, (count, 1, 3, 3)).astype(np.uint8), random.integers(0, classes, count)


def test_density_and_coverage_are_the_formula(script):
    random = np.random.default_rng(0)
    x, real = random.normal(0.5, 0.8, (40, 3)), random.normal(size=(50, 3))

    def radii(points):
        return [sorted(np.linalg.norm(points - point, axis=1))[5] for point in points]

    of_real, of_x = radii(real), radii(x)
    near = [[np.linalg.norm(a - b) < radius for b, radius in zip(real, of_real, strict=True)] for a in x]
    wanted = {
        "precision": np.mean([any(row) for row in near]),
        "recall": np.mean([any(np.linalg.norm(a - b) < r for a, r in zip(x, of_x, strict=True)) for b in real]),
        "density": sum(map(sum, near)) / (5 * 40),
        "coverage": np.mean([any(column) for column in zip(*near, strict=True)]),
    }
    found = script("quality.measures").neighbours(x, real)
    assert found == pytest.approx(wanted, rel=1e-12) and len(set(found.values())) == 4
    assert np.isnan(list(script("quality.measures").neighbours(x[:5], real).values())).all()


def test_real_images_are_held_out_ones_and_of_equal_classes(script, tmp_path):
    """A judge that takes an image's first pixel for its class, in which the label is written."""
    images, labels = some(300, classes=3)
    labels[40:] = labels[40:] % 2  # class 2 has the fewest
    images[:, 0, 0, 0] = labels
    judge = Features(
        "", "", lambda counts: (counts.flatten(1), torch.nn.functional.one_hot(counts[:, 0, 0, 0].long(), 3))
    )
    data = Dataset("array", 0 * images, images, 8, labels, labels)
    measures, seen = script("quality.measures").Measures({"plain": judge}, data, 60, tmp_path), []
    measures.of = lambda images, labels: seen.append((images, labels)) or type(measures).of(measures, images, labels)
    equal, alike = measures.of_real(equal=True), measures.of_real(equal=False)
    few = int((labels == 2).sum())
    assert 0 < few < 20 and equal["images"] == 40 + few and alike["images"] == 60
    assert len(seen) == 10 and all((images[:, 0, 0, 0] == labels).all() for images, labels in seen)
    assert all(np.bincount(labels).tolist() == [20, 20, few] for _, labels in seen[:5])
    assert len({images.tobytes() for images, _ in seen}) == 10
    assert equal["numbers"]["plain accuracy"] == {"mean": 1.0, "spread": 0.0, "each": [1.0] * 5}
    wrong = measures.of(seen[0][0], (seen[0][1] + 1) % 3)
    assert wrong["plain accuracy"] == 0 and wrong["plain frechet"] == equal["numbers"]["plain frechet"]["each"][0]
    # All that there are: one subset, which has no deviation.
    everything = script("quality.measures").Measures({"plain": judge}, data, 300, tmp_path).of_real(equal=False)
    assert everything["numbers"]["lit"]["spread"] is None and len(everything["numbers"]["lit"]["each"]) == 1


@pytest.mark.parametrize(
    "text, options",
    [
        ("last_step=mean steps=5", {"steps": 5, "last_step": "mean"}),
        ("guidance=.25 grid=0,4e-4,1", {"grid": [0.0, 4e-4, 1.0], "guidance": 0.25}),
        ("grid=1000,987,0 guidance=1,.5", {"grid": [1000, 987, 0], "guidance": [1.0, 0.5]}),
        ("grid=early", {"grid": "early"}),
        ("", {}),
    ],
)
def test_settings_are_the_options_of_sample(script, text, options):
    setting = script("quality.settings").setting_of(text)
    assert repr(sorted(setting.options.items())) == repr(sorted(options.items()))  # 0 is not 0.0
    assert setting.text == script("quality.settings").setting_of(" ".join(reversed(text.split()))).text


@pytest.mark.parametrize(
    "text", ["step=5", "steps", "steps=", "steps=5 steps=6", "steps=x", "grid=0,,1", "guidance=nan"]
)
def test_wrong_settings_are_named(script, text):
    with pytest.raises(ValueError, match="quality: [a-z]+: must be .* got '"):
        script("quality.settings").setting_of(text)


@pytest.fixture
def quality(script, capsys):
    """Runs the command: its status, its lines, its errors."""

    def run(*arguments):
        status = script("quality.run").main(["digits", "--num", "20", "--seeds", "1", "2", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def test_a_report_goes_on_where_it_was(script, quality, tmp_path, monkeypatch):
    out, module = tmp_path / "r.json", script("quality.run")
    status, text, _ = quality("--setting", EARLY, "--out", out, "--keep")
    first = json.loads(out.read_text())
    assert status == 0 and [entry["setting"] for entry in first["settings"]] == [EARLY]
    assert {path.name for path in tmp_path.iterdir()} == {"r.json", "r-1.png", "r-1-1.npz", "r-1-2.npz"}
    drawn, draw = [], module.draw
    monkeypatch.setattr(module, "draw", lambda *given: drawn.append(given[1:]) or draw(*given))
    status, text, _ = quality("--setting", EARLY, "--setting", MEAN, "--out", out)
    second = json.loads(out.read_text())
    assert [given for given in drawn if given[1] > 1] == [(module.setting_of(MEAN), 20, seed) for seed in (1, 2)]
    assert second | {"settings": second["settings"][:1]} == first and len(second["settings"]) == 2
    assert second["beside"] == "random" and second["settings"][1]["times"][::3] == [1000, 0]
    for label, numbers in (
        ("setting 1", second["settings"][0]["numbers"]),
        ("random real", second["real"]["random"]["numbers"]),
    ):
        row = next(line for line in text.splitlines() if line.startswith(label))
        assert (
            f" {numbers['pixels frechet']['mean']:.3g}" in row and f" {numbers['pixels coverage']['mean']:.2f} " in row
        )
    assert all(len(line) <= 80 for line in text.splitlines()) and f"2: {MEAN}" in text
    one, other = (numbers := first["settings"][0]["numbers"]["pixels frechet"])["each"]
    assert one != other and numbers["mean"] == pytest.approx((one + other) / 2)
    assert numbers["spread"] == pytest.approx(abs(one - other) / 2**0.5)
    assert [entry["config"] is None for entry in second["settings"]] == [False, True]  # what is tuned changes the first
    out.write_text(out.read_text().replace(first["settings"][0]["config"], "0" * 64))
    drawn.clear()
    status, text, _ = quality("--setting", MEAN, "--setting", EARLY, "--out", out)
    third = json.loads(out.read_text())["settings"]
    assert {given[0].text for given in drawn if given[1] > 1} == {EARLY} and (tmp_path / "r-3.png").is_file()
    assert len(third) == 3 and third[2]["times"] == third[0]["times"] and third[2]["config"] != third[0]["config"]
    drawn.clear()
    monkeypatch.setattr(module, "Measures", None)  # nothing is measured again
    assert quality("--setting", MEAN, "--out", out) == (0, text, "") and all(num == 1 for _, num, _ in drawn)


def test_judges_are_trained_once_and_alike(script, tmp_path, monkeypatch):
    judges = script("quality.judges")
    torch.set_num_threads(1)
    digit_files(tmp_path, 140)
    data, made = load("mnist", tmp_path), []
    for folder in ("a", "b"):
        found = {name: judges.judge_of(name, data, tmp_path / folder, epochs=1) for name in judges.JUDGES}
        made.append({path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()})
    assert made[0] == made[1] and len(made[0]) == 4
    assert [judge(data.train[:3]).shape for judge in found.values()] == [(3, 120), (3, 96)]
    facts = json.loads(made[0]["mnist-lenet.json"])
    assert facts["sha256"] == found["lenet"].hash and 0 <= facts["accuracy"] <= 1
    monkeypatch.setitem(judges.JUDGES, "lenet", judges.JUDGES["lenet"]._replace(seed=1))
    assert judges.judge_of("lenet", data, tmp_path / "a", 1).hash == facts["sha256"]  # it lies there
    assert judges.judge_of("lenet", data, tmp_path / "c", 1).hash != facts["sha256"]
    (tmp_path / "a/mnist-lenet.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match="judge lenet: .* SHA-256 must be"):
        judges.judge_of("lenet", data, tmp_path / "a", 1)


@pytest.mark.slow
def test_samples_of_asked_classes_by_three_judges(script, capsys, tmp_path, monkeypatch):
    """The shipped mnist on a data set of 140 images."""
    monkeypatch.setitem(script("quality.judges").EPOCHS, "mnist", 1)
    digit_files(tmp_path, 140)
    given = ["--num", 30, "--seeds", 5, "--data", tmp_path, "--work", tmp_path / "work"]
    given += ["--setting", "steps=2 grid=early guidance=0.5 last_step=mean"]

    def report(file):
        assert script("quality.run").main(["mnist", *map(str, given), "--out", str(tmp_path / file)]) == 0
        return json.loads((tmp_path / file).read_text())

    made = report("a.json")
    assert list(made["judges"]) == ["lenet", "patches", "package"] and made["beside"] == "equal"
    assert made["real"]["equal"]["images"] == 30
    real, numbers = made["real"]["equal"]["numbers"], made["settings"][0]["numbers"]
    assert numbers["package ratio"]["mean"] == numbers["package frechet"]["mean"] / real["package frechet"]["mean"]
    assert numbers["package accuracy"]["mean"] > 0.8 and numbers["seconds"]["spread"] is None
    kept = sorted((tmp_path / "work").glob("*.npy"))
    again = report("b.json")
    del again["settings"][0]["numbers"]["seconds"], numbers["seconds"]
    assert again == made and len(kept) == 3
    np.save(kept[0], np.load(kept[0]) + 1)  # what was kept is used
    assert report("c.json")["real"] != made["real"]
