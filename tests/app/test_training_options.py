import shutil
from pathlib import Path

import pytest

from app.commands.training import TrainOptions
from app.training_options import StartingPoint, choose_start, parse_canvas, parse_exclusive
from core.errors import ModelNotFoundError, SettingsError, WeightsError
from core.settings import load_settings
from models.catalogue import DEFAULT_WEIGHTS, get_weights, weights_file
from tests.app.conftest import Cli
from tests.models.training.pictures import write_shapes

CLASSES = ("person", "car", "bus", "truck")


def test_known_weights_and_weights_files_are_gone_on_from(tiny_weights: Path) -> None:
    known = choose_start(DEFAULT_WEIGHTS, 16)
    entry = get_weights(DEFAULT_WEIGHTS)
    assert entry.part_share is not None
    assert known == StartingPoint(
        *("resnet50_thin", "fpn", 64, weights_file(DEFAULT_WEIGHTS), (("car", "bus", "truck"),)),
        *(entry.iou_threshold, entry.part_share),
    )
    tiny = choose_start(str(tiny_weights), 64)
    assert (tiny.backbone, tiny.neck_channels, tiny.weights) == ("resnet18_thin", 16, tiny_weights)


@pytest.mark.parametrize(
    ("name", "neck"),
    [("dpn92", "fpn"), ("dpn92_csp", "csp"), ("resnet50_thin_csp", "csp"), ("resnet50_fpn_p6", "fpn_p6")],
)
def test_a_backbone_with_or_without_a_neck_starts_fresh(name: str, neck: str) -> None:
    start = choose_start(name, 32)
    assert (start.backbone, start.neck) == (name.removesuffix(f"_{neck}"), neck)
    assert (start.neck_channels, start.weights, start.exclusive) == (32, None, ())


def test_a_model_that_cannot_be_trained_says_what_can(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="expected a one-stage detector to train, got torchvision's"):
        choose_start("fcos_resnet50_fpn", 64)
    for name in ("yolo", "dpn92_yolo", "yolo_fpn"):
        with pytest.raises(ModelNotFoundError, match=rf"--model: expected weights .*dpn92.*got '{name}'"):
            choose_start(name, 64)
    with pytest.raises(WeightsError, match="check the path"):
        choose_start(str(tmp_path / "gone.safetensors"), 64)


def test_exclusive_groups_are_made_of_the_classes() -> None:
    assert parse_exclusive(["car, bus,truck"], CLASSES) == (("car", "bus", "truck"),)
    assert parse_exclusive([], CLASSES) == ()
    for words in (["car"], ["car,tram"], ["car,bus", "bus,truck"], [""]):
        with pytest.raises(SettingsError, match=r"--exclusive: expected two or more of person, car.*got"):
            parse_exclusive(words, CLASSES)


def test_a_canvas_is_the_size_that_training_ends_at() -> None:
    fields = parse_canvas("640x480")
    assert fields["canvas"] == (640, 480)
    assert fields["phases"][-1].canvases == ((640, 480),)
    assert fields["phases"][0].canvases == ((480, 352), (640, 480))
    for text in ("640", "640x", "640x470", "32x32", "axb"):
        with pytest.raises(SettingsError, match="--canvas: expected"):
            parse_canvas(text)


def test_what_is_typed_reaches_the_trainer(folder: Path, tiny_weights: Path) -> None:
    data = write_shapes(folder / "shapes", 2)
    options = TrainOptions(
        data=data,
        output=folder / "mine.safetensors",
        exclusive=["square,disc"],
        score_threshold=0.6,
        teacher=tiny_weights,
        teacher_weight=2.5,
        licence="CC0-1.0",
        source="shapes that a test drew",
        steps=30,
        canvas="96x64",
        paste=2,
        distractors=3,
    )
    config = options.config(load_settings(precision="fp32"))
    assert config.exclusive == (("square", "disc"),)
    assert (config.score_threshold, config.teacher_weight, config.bf16) == (0.6, 2.5, False)
    assert (config.licence, config.source) == ("CC0-1.0", "shapes that a test drew")
    assert config.canvas == (96, 64)
    assert {(phase.strength.pasted, phase.strength.distractors) for phase in config.phases} == {(2, 3)}
    assert config.phases[-1].canvases == ((96, 64),)
    assert config.warm_up_steps == 4, "a tenth of a short run"
    assert (config.backbone, config.start_from) == ("resnet50_thin", None)
    assert options.config(load_settings()).bf16


def test_weights_go_to_a_safetensors_file_or_nothing_is_trained(folder: Path) -> None:
    for name in ("mine", "mine.pth"):
        options = TrainOptions(write_shapes(folder / "shapes", 2), folder / name)
        with pytest.raises(
            SettingsError, match=r"--output: expected a name that ends with \.safetensors, got"
        ):
            options.config(load_settings())


def test_pictures_to_score_on_are_looked_for_where_those_to_learn_from_are(folder: Path) -> None:
    annotations = write_shapes(folder / "mined", 2)
    for name in ("train.json", "val.json"):
        shutil.copy(annotations, annotations.with_name(name))
    mined, pictures, others = annotations.parent, folder / "pictures", folder / "others"

    def wanted(**given: Path) -> Path | None:
        config = TrainOptions(mined, folder / "mine.safetensors", **given).config(load_settings())  # type: ignore[arg-type]
        assert config.val_json == mined / "val.json"
        return config.val_images_dir or config.images_dir

    assert wanted() == mined
    assert wanted(images=pictures) == pictures
    assert wanted(images=pictures, val_images=others) == others


def test_going_on_from_weights_keeps_how_they_part_objects(folder: Path) -> None:
    entry = get_weights(DEFAULT_WEIGHTS)
    options = TrainOptions(
        data=write_shapes(folder / "shapes", 2),
        output=folder / "mine.safetensors",
        model=DEFAULT_WEIGHTS,
        classes=",".join(entry.categories),
        steps=30,
    )
    config = options.config(load_settings())
    assert config.exclusive == entry.exclusive
    assert (config.iou_threshold, config.part_share) == (entry.iou_threshold, entry.part_share)


def test_a_wrong_group_ends_the_command_in_one_line(cli: Cli, folder: Path) -> None:
    data = write_shapes(folder / "shapes", 2)
    done = cli(
        "models", "train", "--data", data, "-o", "x.safetensors", "--steps", "1", "--exclusive", "disc"
    )
    assert done.code == 2
    assert "--exclusive: expected two or more of square, disc" in done.error
