import json
import pickle
import re
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from models.backbones import list_backbones
from models.catalogue import list_weights
from tests.app.conftest import Cli
from tests.clips import numbered_picture, write_clip
from tests.models.precision import needs_bf16


@pytest.fixture
def pictures(folder: Path) -> Path:
    """Three pictures of 320x240 and a text file."""
    there = folder / "pictures"
    there.mkdir()
    for number in range(3):
        cv2.imwrite(str(there / f"p{number}.png"), numbered_picture(number))
    (there / "notes.txt").write_text("no picture")
    return there


def test_every_detector_and_every_backbone_is_listed_with_its_size(cli: Cli) -> None:
    rows = json.loads(cli("models", "list", "--json").out)
    detectors = [row for row in rows if row["kind"] == "detector"]
    backbones = [row for row in rows if row["kind"] == "backbone"]
    assert [row["name"] for row in detectors] == list(list_weights())
    assert [row["name"] for row in backbones] == list(list_backbones())
    assert [row["name"] for row in detectors if row["is_default"]] == ["resnet50_thin_fpn"]
    for row in rows:
        assert row["parameters"] > 1e5
        assert row["gflops"] > 0.1
        assert re.fullmatch(r"\d+x\d+", row["canvas"])
        assert row["source"]
    lines = cli("models", "list").out.splitlines()
    by_name = {line.split()[0]: line for line in lines if line}
    assert set(by_name) == {"detector", "backbone", *list_weights(), *list_backbones()}
    assert by_name["resnet50"].split()[1:4] == ["25.6", "4.1", "224x224"]
    assert by_name["dpn92"].endswith("timm dpn92 (ImageNet)")
    assert by_name["resnet50_thin_fpn"].endswith("shipped")


def test_weights_describe_themselves(cli: Cli, tiny_weights: Path) -> None:
    facts = json.loads(cli("models", "show", tiny_weights, "--json").out)
    assert facts["categories"] == ["person", "car", "motorcycle", "bus", "truck"]
    assert len(facts["sha256"]) == 64
    assert "person, car, motorcycle, bus, truck" in cli("models", "show", "--model", tiny_weights).out


def test_a_picture_is_annotated(cli: Cli, pictures: Path, tiny_weights: Path) -> None:
    done = cli("models", "detect", pictures / "p1.png", "-o", "found.png", "--model", tiny_weights, "--json")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert (record["picture"], record["width"], record["height"]) == ("p1.png", 320, 240)
    assert record["detections"], "the tiny detector finds something in every numbered picture"
    for box in record["detections"]:
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 320.01
        assert 0 <= box["y"] <= box["y"] + box["height"] <= 240.01
    drawn = cv2.imread("found.png")
    assert " in 1 picture by tiny" in done.err
    assert drawn.shape == (240, 320, 3)
    assert np.abs(drawn.astype(int) - numbered_picture(1)).max() > 50


def test_a_folder_becomes_a_folder(cli: Cli, pictures: Path, tiny_weights: Path) -> None:
    done = cli("models", "detect", pictures, "-o", "found", "--model", tiny_weights, "--json")
    assert [json.loads(line)["picture"] for line in done.out.splitlines()] == ["p0.png", "p1.png", "p2.png"]
    assert sorted(file.name for file in Path("found").iterdir()) == ["p0.png", "p1.png", "p2.png"]
    assert "in 3 pictures by tiny" in done.err


def test_a_video_becomes_h264_with_the_same_times(cli: Cli, folder: Path, tiny_weights: Path) -> None:
    times_ms = [0, 40, 80, 240, 280, 1000]
    write_clip(folder / "street.mp4", frames=6, times_ms=times_ms, size=(322, 242))
    done = cli("models", "detect", "street.mp4", "-o", "found.mp4", "--model", tiny_weights, "--json")
    assert done.code == 0, done.err
    assert [round(json.loads(line)["at_s"] * 1000) for line in done.out.splitlines()] == times_ms
    with av.open("found.mp4") as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert [round(frame.time * 1000) for frame in frames] == times_ms
    assert sorted(file.name for file in folder.iterdir()) == ["found.mp4", "street.mp4"]


def test_a_truncated_video_leaves_no_half_output(cli: Cli, folder: Path, tiny_weights: Path) -> None:
    write_clip(folder / "whole.avi", frames=60, codec="mjpeg")
    data = (folder / "whole.avi").read_bytes()
    (folder / "cut.avi").write_bytes(data[: len(data) // 2])
    done = cli("models", "detect", "cut.avi", "-o", "found.mp4", "--model", tiny_weights)
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith("error: cut.avi: expected about 60 frames")
    assert "Traceback" not in done.err
    assert not (folder / "found.mp4").exists()


def test_a_weights_file_that_is_no_longer_what_it_was_is_refused_in_one_line(
    cli: Cli, pictures: Path, tiny_weights: Path
) -> None:
    good = tiny_weights.read_bytes()
    for content, reason in (
        (good[:-100] + bytes(100), "the file was changed or damaged; take a fresh copy"),
        (good[:-100], "the file is truncated or damaged; fetch it again"),
        (pickle.dumps({"weight": [1.0]}), "got a torch file or a pickle under its name, which is not read"),
    ):
        Path("bad.safetensors").write_bytes(content)
        done = cli("models", "detect", pictures / "p0.png", "--model", "bad.safetensors")
        assert done.code == 2
        assert reason in done.error


@pytest.fixture
def annotations(pictures: Path) -> Path:
    """COCO annotations of the three pictures: the moving rectangle is a car."""
    boxes = [[number * 7 % 260, 80, 50, 80] for number in range(3)]
    content = {
        "images": [
            {
                "id": number,
                "file_name": f"p{number}.png",
                "width": 320,
                "height": 240,
                "labelled_classes": ["car"],
            }
            for number in range(3)
        ],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 2, "bbox": box, "area": 4000, "iscrowd": 0}
            for number, box in enumerate(boxes)
        ],
        "categories": [
            {"id": number, "name": name}
            for number, name in enumerate(("person", "car", "motorcycle", "bus", "truck"), 1)
        ],
    }
    file = pictures / "val.json"
    file.write_text(json.dumps(content))
    return file


def test_evaluation_reports_the_labelled_classes(cli: Cli, annotations: Path, tiny_weights: Path) -> None:
    done = cli("models", "eval", "--data", annotations, "--model", tiny_weights, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    cars = next(one for one in report["classes"] if one["name"] == "car")
    assert (report["pictures"], cars["boxes"]) == (3, 3)
    assert 0 <= report["ap50"] <= 1
    assert report["ms_per_picture"] > 0
    counts = report["operating_point"]["classes"][1]
    assert counts["name"] == "car"
    assert counts["correct"] + counts["missed"] == 3
    table = cli("models", "eval", "--data", annotations, "--model", tiny_weights).out.splitlines()
    heads = "class pictures boxes AP AP50 AP small medium large precision recall"
    assert table[0].split() == heads.split()
    assert table[-1].startswith("mean")


def test_evaluation_draws_curves_and_confusion(cli: Cli, annotations: Path, tiny_weights: Path) -> None:
    done = cli("models", "eval", "--data", annotations, "--model", tiny_weights, "-o", "scores")
    assert done.code == 0, done.err
    for name in ("precision-recall.png", "confusion.png"):
        picture = cv2.imread(f"scores/{name}")
        assert min(picture.shape[:2]) > 300
        assert len(np.unique(picture)) > 20, "lines and letters were drawn"


def test_evaluation_at_another_threshold(cli: Cli, annotations: Path, tiny_weights: Path) -> None:
    """No detection scores 1: everything is missed, whatever the average precision."""
    words = ("--data", annotations, "--model", tiny_weights, "--score-threshold", "1.0", "--json")
    point = json.loads(cli("models", "eval", *words).out)["operating_point"]
    assert point["score_threshold"] == 1.0
    assert [one["missed"] for one in point["classes"]] == [0, 3, 0, 0, 0]
    assert point["classes"][1]["recall"] == 0
    assert point["classes"][1]["precision"] is None


def test_frames_of_a_video_are_scored(cli: Cli, folder: Path, annotations: Path, tiny_weights: Path) -> None:
    content = json.loads(annotations.read_text())
    for image in content["images"]:
        image |= {"file_name": "street.avi", "frame": 2 * image["id"]}
    annotations.write_text(json.dumps(content))
    write_clip(folder / "street.avi", frames=6, codec="mjpeg")
    words = ("models", "eval", "--data", annotations, "--images", folder, "--model", tiny_weights)
    assert json.loads(cli(*words, "--json").out)["pictures"] == 3
    write_clip(folder / "street.avi", frames=4, codec="mjpeg")
    assert "expected a video with a frame 4, got none" in cli(*words).error


@pytest.mark.slow
def test_a_trained_detector_is_a_file_that_detects(cli: Cli, annotations: Path, pictures: Path) -> None:
    words = ("--data", annotations, "--steps", "1", "--batch-size", "1", "--backbone", "resnet18_thin")
    done = cli(
        "models",
        "train",
        *words,
        "--neck-channels",
        "16",
        "-o",
        "mine.safetensors",
        "--classes",
        "car,person",
    )
    assert done.code == 0, done.err
    facts = json.loads(cli("models", "show", "mine.safetensors", "--json").out)
    assert facts["categories"] == ["car", "person"]
    assert cli("models", "detect", pictures / "p0.png", "--model", "mine.safetensors").code == 0


@pytest.mark.parametrize("word", ["street", "=2", "street=-1", "street=much"])
def test_source_weights_are_checked(cli: Cli, annotations: Path, word: str) -> None:
    words = ("--steps", "1", "--source-weight", word)
    done = cli("models", "train", "--data", annotations, "-o", "mine.safetensors", *words)
    assert done.code == 2
    assert "expected SOURCE=WEIGHT with a weight from 0 up" in done.error


def test_a_source_weight_names_a_source_of_the_file(cli: Cli, annotations: Path) -> None:
    words = ("--steps", "1", "--source-weight", "nowhere=2")
    done = cli("models", "train", "--data", annotations, "-o", "mine.safetensors", *words)
    assert done.code == 2
    assert "'nowhere'" in done.error


def test_training_needs_one_length(cli: Cli, annotations: Path) -> None:
    for words in ((), ("--steps", "1", "--hours", "1")):
        done = cli("models", "train", "--data", annotations, "-o", "mine.safetensors", *words)
        assert done.code == 2
        assert "expected one of --steps and --hours" in done.error


@needs_bf16
def test_bench_measures_side_by_side(cli: Cli, annotations: Path, tiny_weights: Path) -> None:
    words = ("models", "bench", "--model", tiny_weights, "--precision", "bf16", "--rounds", "2")
    done = cli(*words, "--batches", "1,2", "--backbones", "resnet18", "--data", annotations, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    measured = {(row["implementation"], row["precision"], row["batch"]) for row in report["timings"]}
    assert {(name, precision) for name, precision, _ in measured} == {
        ("detector, as workers run it", "bf16"),
        ("detector, plain eager", "fp32"),
        ("its bare backbone", "bf16"),
        ("ours, as workers run it", "bf16"),
        ("ours, eager", "bf16"),
        ("torchvision, eager", "bf16"),
        ("ours, eager", "fp32"),
        ("torchvision, eager", "fp32"),
    }
    assert len(measured) == 16
    assert all(row["ms_per_frame"] > 0 and len(row["rounds_ms"]) == 2 for row in report["timings"])
    assert len(report["ratios"]) == 4
    assert all(set(ratio["times_as_fast"]) == {"1", "2"} for ratio in report["ratios"])
    assert len(report["average_precision"]) == 2
    assert report["machine"]["precision"] == "bfloat16"


def test_bench_prints_a_table(cli: Cli, tiny_weights: Path) -> None:
    words = ("models", "bench", "--model", tiny_weights, "--rounds", "1", "--batches", "1", "--backbones", "")
    lines = cli(*words, "--canvas", "96x64").out.splitlines()
    assert lines[0].split() == ["ms", "per", "frame", "implementation", "precision", "batch", "1"]
    assert sum(line.startswith("tiny at 96x64") for line in lines) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bench", "--batches", "1,x"), "--batches: expected batch sizes such as 1,4,8,16; got '1,x'"),
        (("bench", "--canvas", "384x640"), "expected WIDTHxHEIGHT of a landscape picture, 64 to 4096 pixels"),
        (("bench", "--canvas", "640"), "got '640'"),
        (("bench", "--backbones", "resnet51"), "got 'resnet51'"),
        (("bench", "--model", "fcos_resnet50_fpn"), "expected a network of framewatch's own"),
        (("export", "--to", "tflite"), "--to: expected onnx or torchscript, got 'tflite'"),
        (("export", "--to", "torchscript", "--int8", "street.mp4"), "--int8: expected --to onnx"),
        (("export", "--int8", "nowhere.mp4"), "nowhere.mp4"),
        (("export", "--int8", "rtsp://camera/stream"), "expected a picture, a folder of pictures or a video"),
        (("export", "-o", "mine.pb"), "expected a name that ends with .onnx"),
        (("export", "-o", "nowhere/mine.onnx"), "expected a folder at nowhere"),
        (("export", "--model", "fcos_resnet50_fpn"), "expected a network of framewatch's own"),
    ],
)
def test_bench_and_export_say_what_is_wrong(
    cli: Cli, tiny_weights: Path, words: tuple[str, ...], message: str
) -> None:
    model = () if "--model" in words else ("--model", str(tiny_weights))
    done = cli("models", *words, *model)
    assert done.code == 2
    assert message in done.error


def test_an_exported_detector_detects(cli: Cli, pictures: Path, tiny_weights: Path) -> None:
    done = cli("models", "export", "--model", tiny_weights, "-o", "tiny.onnx", "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts["score_difference"] < 1e-3
    assert facts["bytes"] == Path("tiny.onnx").stat().st_size
    shown = json.loads(cli("models", "show", "tiny.onnx", "--json").out)
    assert shown["categories"] == ["person", "car", "motorcycle", "bus", "truck"]
    found = [
        json.loads(cli("models", "detect", pictures / "p1.png", "--json", "--model", model, *words).out)
        for model, words in (("tiny.onnx", ()), (tiny_weights, ("--precision", "fp32")))
    ]
    assert [box["class_name"] for box in found[0]["detections"]] == [
        box["class_name"] for box in found[1]["detections"]
    ]
    assert found[0]["detections"]
    written = cli("models", "export", "--model", tiny_weights, "--to", "torchscript")
    assert (written.code, written.out.strip()) == (0, "tiny.torchscript")
    assert "of the network's own" in written.err


def test_an_int8_export_is_fitted_to_pictures_and_measured_beside_the_network(
    cli: Cli, annotations: Path, pictures: Path, tiny_weights: Path
) -> None:
    done = cli("models", "export", "--model", tiny_weights, "--int8", pictures, "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert (facts["path"], facts["pictures"]) == ("tiny_int8.onnx", 3)
    assert 0 < facts["found"] <= facts["objects"]
    words = ("models", "bench", "--model", tiny_weights, "--rounds", "1", "--batches", "1", "--backbones", "")
    done = cli(*words, "--exported", "tiny_int8.onnx", "--data", annotations, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    measured = {(row["implementation"], row["precision"]) for row in report["timings"]}
    assert ("detector, ONNX Runtime", "int8") in measured
    assert any("int8 by ONNX Runtime, against plain float32" in ratio["what"] for ratio in report["ratios"])
    assert [one["what"] for one in report["average_precision"]][2:] == ["int8 by ONNX Runtime"]


def test_weights_are_averaged(cli: Cli, tiny_weights: Path) -> None:
    other = tiny_weights.with_name("other.safetensors")
    other.write_bytes(tiny_weights.read_bytes())
    words = ("models", "average", tiny_weights, f"{other}=0.5", "-o", "mean.safetensors")
    done = cli(*words, "--score-threshold", "0.45")
    assert done.code == 0, done.err
    assert "framewatch models eval --model mean.safetensors" in done.err
    facts = json.loads(cli("models", "show", "mean.safetensors", "--json").out)
    assert (facts["name"], facts["score_threshold"]) == ("mean", 0.45)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a.safetensors", "-o", "m.safetensors"), "expected two or more weights to average, got 1"),
        (("a.safetensors", "b.safetensors=much", "-o", "m.safetensors"), "expected NAME=SHARE with a number"),
        (("a.safetensors", "a.safetensors", "-o", "m.safetensors"), "expected each weights once"),
        (("a.safetensors", "b.safetensors", "-o", "m.pt"), "expected a name that ends with .safetensors"),
        (("a.safetensors", "b.safetensors", "-o", "no/m.safetensors"), "expected a folder at no, found none"),
        (("a.safetensors", "b.safetensors", "-o", "m.safetensors"), "a.safetensors: expected a weights file"),
    ],
)
def test_what_cannot_be_averaged_is_refused_in_one_line(
    cli: Cli, folder: Path, words: tuple[str, ...], message: str
) -> None:
    done = cli("models", "average", *words)
    assert done.code == 2, done.err
    assert message in done.err
    assert not list(folder.glob("m.*"))
