"""What a run folder and the card beside the weights hold, after training or at once with a finished file."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from app import training_run
from app.training_run import CARD_MARK, finish_run, read_log, write_card, write_config
from models.catalogue import read_card
from models.training.config import TrainingConfig
from models.training.dataset import read_coco
from tests.fakes import TINY_CATEGORIES
from tests.models.training.pictures import write_shapes

HEAD = "step,share,loss,classification,box,rate,pictures_per_s,ap50\n"


@pytest.fixture
def config(folder: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingConfig:
    """A run that has ended: 6 pictures, whose squares are cars and whose discs are persons."""
    data = write_shapes(folder / "shapes", 6)
    data.write_text(data.read_text().replace('"square"', '"car"').replace('"disc"', '"person"'))
    content = json.loads(data.read_text())
    content["categories"] += [{"id": 9 + n, "name": name} for n, name in enumerate(TINY_CATEGORIES[2:])]
    data.write_text(json.dumps(content))
    shutil.copy(tiny_weights, folder / "mine.safetensors")
    config = TrainingConfig(
        train_json=data,
        images_dir=data.parent,
        output=folder / "mine.safetensors",
        work_dir=folder / "mine.run",
        start_from=Path("base.safetensors"),
        steps=40,
    )
    monkeypatch.setattr("sys.argv", ["/bin/framewatch", "models", "train", "--data", "two words"])
    write_config(config)
    return config


def test_of_steps_taken_twice_the_log_counts_the_last(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    assert read_log(log) == []
    log.write_text(
        HEAD + "20,0.2,3,2,1,1,9,\n40,0.4,2,1,1,1,9,0.5\n40,0.4,1.5,1,0.5,1,9,\n60,0.6,1,1,0,1,9,0.7\n"
    )
    rows = read_log(log)
    assert [(row["step"], row["loss"], row["ap50"]) for row in rows] == [
        (20, 3, None), (40, 1.5, None), (60, 1, 0.7)
    ]  # fmt: skip


def test_a_finished_run_leaves_its_configuration_curves_pictures_and_card(config: TrainingConfig) -> None:
    (config.work_dir / "log.csv").write_text(HEAD + "20,0.5,3,2,1,1,9,\n40,1.0,2,1,1,0.02,9,0.5\n")
    report = finish_run(config)
    assert report.pictures == 6
    kept = json.loads((config.work_dir / "config.json").read_text())
    assert (kept["steps"], kept["train_json"]) == (40, str(config.train_json))
    assert kept["command"] == "framewatch models train --data 'two words'"
    for name in ("training.png", "precision-recall.png", "confusion.png"):
        assert min(cv2.imread(str(config.work_dir / name)).shape[:2]) > 300
    assert len(list((config.work_dir / "examples").glob("*.jpg"))) == 6
    card = config.output.with_suffix(".md").read_text()
    entry = read_card(config.output)
    for fact in (
        "# tiny",
        "car (6)",
        "person (6)",
        "truck (0)",
        entry.sha256,
        "base.safetensors",
        "**These are the pictures it was trained on.**",
        f"| **mean** | | {report.ap50:.3f} |",
    ):
        assert fact in card, card


def test_a_run_is_scored_on_so_many_pictures_at_most_evenly_spread(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_run, "SCORED_PICTURES", 4)
    monkeypatch.setattr(training_run, "EXAMPLES", 3)
    assert finish_run(config).pictures == 4
    examples = {file.name.partition("-")[0] for file in (config.work_dir / "examples").iterdir()}
    assert examples == {"0", "2", "4"}, "three of six pictures"


def test_the_card_names_the_pictures_it_was_scored_on_until_a_person_takes_it_over(
    config: TrainingConfig,
) -> None:
    scored = replace(config, val_json=config.train_json)
    report = finish_run(scored)
    path = config.output.with_suffix(".md")
    card = path.read_text()
    assert "trained on" not in card
    assert "on 6 pictures of" in card
    path.write_text(card.replace(CARD_MARK, "") + "\nNot for night cameras.\n")
    learned = read_coco(config.train_json, config.images_dir, config.categories)
    write_card(scored, learned, report)
    assert "Not for night cameras." in path.read_text()
