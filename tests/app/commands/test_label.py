"""`framewatch models label`, with a real if meaningless detector."""

import json
from pathlib import Path
from typing import Any

import cv2
import onnx
import pytest

from models.training.dataset import read_coco
from tests.app.conftest import Cli
from tests.clips import numbered_picture
from tests.fakes import TINY_CATEGORIES


@pytest.fixture
def partly_labelled(folder: Path) -> Path:
    """Six pictures of two sources, of which only cars were labelled, and one of everything."""
    images = []
    (folder / "images").mkdir()
    for number in range(7):
        cv2.imwrite(str(folder / "images" / f"p{number}.png"), numbered_picture(number))
        image = {"id": number, "file_name": f"p{number}.png", "width": 320, "height": 240}
        image["source"] = "yard" if number < 4 else "toll"
        if number < 6:
            image["labelled_classes"] = ["car"]
        images.append(image)
    names = [{"id": 10 + index, "name": name} for index, name in enumerate((*TINY_CATEGORIES, "sledge"))]
    box = {"id": 5, "image_id": 0, "category_id": 11, "bbox": [0, 80, 50, 80], "area": 4000, "iscrowd": 0}
    file = folder / "train.json"
    file.write_text(json.dumps({"images": images, "annotations": [box], "categories": names}))
    return file


def read(path: str) -> dict[str, Any]:
    content = json.loads(Path(path).read_text())
    assert isinstance(content, dict)
    return content


def test_finds_are_added_and_their_classes_count_as_labelled(
    cli: Cli, partly_labelled: Path, tiny_weights: Path
) -> None:
    words = ("--data", partly_labelled, "--model", tiny_weights, "--sure", "0.6", "--doubtful", "0.3")
    done = cli("models", "label", *words, "-o", "completed.json")
    assert done.code == 0, done.err
    before, after = read("train.json"), read("completed.json")
    kept, added = after["annotations"][:1], after["annotations"][1:]
    assert kept == before["annotations"]
    assert [one["id"] for one in added] == list(range(6, 6 + len(added)))
    assert {one["iscrowd"] for one in added} == {0, 1}
    assert all(one["score"] >= 0.3 and one["labelled_by"] == "tiny" for one in added)
    assert after["categories"] == before["categories"]
    assert [image.get("labelled_classes") for image in after["images"]] == [[*TINY_CATEGORIES]] * 6 + [None]
    labels = sum(one["iscrowd"] == 0 for one in added)
    assert f"{labels} labels and {len(added) - labels} doubts added" in done.err
    assert "models train --data completed.json --images" in done.err
    assert done.out.splitlines()[0].split() == ["source", "class", "labels", "doubts"]
    again = read_coco(Path("completed.json"), Path("images"), TINY_CATEGORIES)
    assert all(picture.labelled.all() for picture in again.pictures)
    assert sum(len(picture.boxes) for picture in again.pictures) == len(after["annotations"])


def test_sources_can_be_kept_and_classes_be_known_as_absent(
    cli: Cli, partly_labelled: Path, tiny_weights: Path
) -> None:
    words = ("--data", partly_labelled, "--model", tiny_weights, "-o", "completed.json", "--json")
    plain = json.loads(cli("models", "label", *words).out)
    seen = {row["class_name"] for row in plain if row["source"] == "yard"} - {"car"}
    assert seen
    assert {row["source"] for row in plain} == {"yard", "toll"}
    gone = f"yard={','.join([*seen, 'sledge'])}"
    rows = json.loads(cli("models", "label", *words, "--keep-unlabelled", "toll", "--absent", gone).out)
    assert {(row["source"], row["class_name"]) for row in rows} <= {("yard", "car")}
    before, after = read("train.json"), read("completed.json")
    assert after["images"][4:] == before["images"][4:]
    assert all("labelled_classes" not in image for image in after["images"][:4]), "sledges are absent as well"


def test_an_onnx_file_says_itself_which_classes_shut_each_other_out(
    cli: Cli, folder: Path, partly_labelled: Path, tiny_onnx: Path
) -> None:
    content = read("train.json")
    everywhere = {"category_id": 10, "bbox": [0, 0, 320, 240], "area": 76800, "iscrowd": 0}
    content["annotations"] = [{"id": number, "image_id": number, **everywhere} for number in range(7)]
    partly_labelled.write_text(json.dumps(content))
    model = onnx.load(str(tiny_onnx))
    for entry in model.metadata_props:
        entry.value = entry.value.replace('["car","bus","truck"]', '["person","motorcycle"]')
    (folder / "mine.onnx").write_bytes(model.SerializeToString())
    added = []
    for file in (tiny_onnx, folder / "mine.onnx"):
        done = cli("models", "label", "--data", "train.json", "--model", file, "-o", "done.json", "--json")
        added.append({row["class_name"] for row in json.loads(done.out)})
    assert added[0] - added[1] == {"motorcycle"}, "people are everywhere, and these are no motorcycles"


def test_sheets_show_all_that_was_added(cli: Cli, partly_labelled: Path, tiny_weights: Path) -> None:
    words = ("--data", partly_labelled, "--model", tiny_weights, "--sure", "0.6", "--doubtful", "0.3")
    done = cli("models", "label", *words, "-o", "completed.json", "--sheets", "look", "--json")
    assert done.code == 0, done.err
    tiles = {
        f"{row['source']}-{row['class_name']}-{kind}": row[kind]
        for row in json.loads(done.out)
        for kind in ("labels", "doubts")
        if row[kind]
    }
    pages = {
        f"{name}-{page}.jpg" for name, count in tiles.items() for page in range(1, 2 + (count - 1) // 80)
    }
    assert {sheet.name for sheet in Path("look").iterdir()} == pages
    assert all(cv2.imread(str(sheet)) is not None for sheet in Path("look").iterdir())
    assert f"{len(pages)} sheets in look" in done.err


def test_a_folder_of_sheets_that_would_not_do_is_told_before_any_work(
    cli: Cli, partly_labelled: Path, tiny_weights: Path
) -> None:
    Path("file").write_text("no folder")
    Path("old").mkdir()
    Path("old", "yard-car-doubts-2.jpg").write_text("of another run")
    words = ("--data", partly_labelled, "--model", tiny_weights, "-o", "completed.json", "--sheets")
    for folder, message in (
        ("file", "--sheets file: expected a folder to write to"),
        ("old", "--sheets old: expected a new or empty folder, got one with files"),
    ):
        done = cli("models", "label", *words, folder)
        assert done.code == 2
        assert message in done.error
    assert not Path("completed.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--absent", "yard"), "--absent: expected SOURCE=CLASS,CLASS, got 'yard'"),
        (("--absent", "moon=car"), "--absent: expected a source of train.json (toll, yard), got 'moon'"),
        (("--absent", "yard=tram"), "--absent: expected classes out of person, car"),
        (("--keep-unlabelled", "moon"), "--keep-unlabelled: expected a source of train.json"),
        (("--sure", "0.1"), "expected 0 < doubtful <= sure <= 1"),
        (("-o", "train.json"), "expected another file than --data"),
        (("-o", "none/completed.json"), "--output: expected a folder at none, found none; create it"),
    ],
)
def test_wrong_use_is_told_and_writes_nothing(
    cli: Cli, partly_labelled: Path, tiny_weights: Path, words: tuple[str, ...], message: str
) -> None:
    before = partly_labelled.read_text()
    output = () if "-o" in words else ("-o", "completed.json")
    done = cli("models", "label", "--data", "train.json", "--model", tiny_weights, *output, *words)
    assert done.code == 2
    assert message in done.error
    assert partly_labelled.read_text() == before
    assert not Path("completed.json").exists()


def test_a_detector_of_other_things_is_refused(cli: Cli, partly_labelled: Path, tiny_weights: Path) -> None:
    content = read("train.json")
    content["categories"] = [entry for entry in content["categories"] if entry["name"] == "sledge"]
    partly_labelled.write_text(json.dumps({**content, "annotations": []}))
    done = cli("models", "label", "--data", "train.json", "--model", tiny_weights, "-o", "completed.json")
    assert "expected a detector of sledge, got one of person, car" in done.error
