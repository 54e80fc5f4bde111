import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.errors import SettingsError, UsageError, WeightsError
from models.catalogue import read_card
from models.detector import load_detector
from models.network import create_detector_network
from models.training.augmentation import Strength
from models.training.batches import Phase
from models.training.config import TrainingConfig, TrainingProgress
from models.training.evaluation import evaluate
from models.training.trainer import CHECKPOINT, LOG, create_optimizer, train
from models.weights import read_state_dict
from tests.models.training.pictures import CATEGORIES, write_shapes

GENTLE = Strength(mosaic=0.2, min_zoom=0.7, max_zoom=1.2, colour=False)


@pytest.fixture
def config(tmp_path: Path) -> TrainingConfig:
    return TrainingConfig(
        train_json=write_shapes(tmp_path / "pictures", 8),
        images_dir=tmp_path / "pictures",
        output=tmp_path / "out" / "shapes.safetensors",
        work_dir=tmp_path / "work",
        categories=CATEGORIES,
        exclusive=(),
        canvas=(96, 96),
        backbone="resnet18_thin",
        neck_channels=16,
        steps=6,
        batch_size=2,
        warm_up_steps=2,
        phases=(Phase(1.0, ((96, 96),), GENTLE),),
        loader_workers=0,
        device="cpu",
        bf16=False,
        save_every=3,
        validate_every=0,
    )


class InterruptedRunError(Exception):
    pass


def stop_at(step: int, progress: TrainingProgress) -> None:
    if progress.step == step:
        raise InterruptedRunError


def weights_of(config: TrainingConfig) -> dict[str, torch.Tensor]:
    state = torch.load(config.work_dir / CHECKPOINT, weights_only=True)
    return {**state["network"], **{f"average.{name}": tensor for name, tensor in state["average"].items()}}


@pytest.mark.parametrize("pasted", [0, 3])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    config: TrainingConfig, tmp_path: Path, pasted: int
) -> None:
    if pasted:
        large = write_shapes(tmp_path / "large", 4, side=192)
        phase = Phase(1.0, ((96, 96),), replace(GENTLE, pasted=pasted))
        config = replace(config, train_json=large, images_dir=large.parent, phases=(phase,))
    train(config)
    interrupted = replace(config, work_dir=tmp_path / "interrupted")
    with pytest.raises(InterruptedRunError):
        train(interrupted, lambda progress: stop_at(5, progress))
    steps: list[int] = []
    train(interrupted, lambda progress: steps.append(progress.step))
    assert steps == [4, 5, 6]  # the checkpoint was written after step 3
    expected, got = weights_of(config), weights_of(interrupted)
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name], tensor, msg=name)


def test_how_objects_are_parted_travels_with_the_weights(config: TrainingConfig) -> None:
    entry = read_card(train(replace(config, steps=1, iou_threshold=0.3, part_share=0.7)))
    assert (entry.iou_threshold, entry.part_share) == (0.3, 0.7)


def test_of_an_exclusive_group_the_classes_of_the_run_remain(config: TrainingConfig) -> None:
    groups = (("square", "ring", "disc"), ("cone", "cube"))
    entry = read_card(train(replace(config, steps=1, exclusive=groups)))
    assert entry.exclusive == (("square", "disc"),)


@pytest.mark.parametrize("empty", ["train_json", "val_json"])
def test_data_without_boxes_are_refused_before_the_first_step(
    config: TrainingConfig, tmp_path: Path, empty: str
) -> None:
    said = json.loads(config.train_json.read_text())
    crowds = [box | {"iscrowd": 1} for box in said["annotations"]]
    path = tmp_path / "empty.json"
    path.write_text(json.dumps(said | {"annotations": crowds}))
    steps: list[int] = []
    with pytest.raises(SettingsError, match=r"empty.json: expected boxes of square, disc that are no crowds"):
        train(replace(config, **{empty: path}), lambda progress: steps.append(progress.step))
    assert steps == []


def test_a_run_whose_last_validation_fails_is_kept(config: TrainingConfig) -> None:
    pictures = write_shapes(config.images_dir.parent / "validation", 2)
    for picture in pictures.parent.glob("*.png"):
        picture.write_bytes(b"no picture")
    unsure = replace(config, save_every=0, val_json=pictures, val_images_dir=pictures.parent)
    with pytest.raises(UsageError):
        train(unsure)
    assert train(unsure) == config.output


def test_a_finished_run_only_writes_its_weights_again(config: TrainingConfig) -> None:
    train(config)
    first = config.output.read_bytes()
    config.output.unlink()
    steps: list[int] = []
    train(config, lambda progress: steps.append(progress.step))
    assert steps == []
    assert config.output.read_bytes() == first


def test_a_checkpoint_of_another_network_or_of_other_classes_is_refused(config: TrainingConfig) -> None:
    train(config)
    with pytest.raises(WeightsError, match="remove it or choose another work folder"):
        train(replace(config, neck_channels=32))
    with pytest.raises(WeightsError, match="a run on disc, square, got one on square, disc"):
        train(replace(config, categories=CATEGORIES[::-1]))
    (config.work_dir / CHECKPOINT).write_bytes(b"torn")
    with pytest.raises(WeightsError, match="remove it or choose another work folder"):
        train(config)


def test_norms_and_biases_do_not_decay_and_the_backbone_learns_slower(config: TrainingConfig) -> None:
    network = create_detector_network("resnet18", num_classes=2, neck_channels=16)
    optimizer = create_optimizer(network, config)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(network.parameters()))
    group_of = {id(tensor): group for group in optimizer.param_groups for tensor in group["params"]}
    parameters = dict(network.named_parameters())
    head, convolution, norm = (
        group_of[id(parameters[name])]
        for name in ("head.class_logits.weight", "backbone.conv1.weight", "backbone.bn1.weight")
    )
    assert (head["weight_decay"], norm["weight_decay"]) == (config.weight_decay, 0.0)
    assert head["peak_lr"] == config.learning_rate
    assert convolution["peak_lr"] == norm["peak_lr"] == config.learning_rate * config.backbone_share


def test_a_start_file_that_holds_no_weights_is_refused(config: TrainingConfig) -> None:
    for suffix in (".onnx", ".safetensors"):
        path = config.images_dir / f"other{suffix}"
        path.write_text("no weights")
        with pytest.raises(WeightsError):
            train(replace(config, start_from=path, backbone="resnet50_thin"))


def test_training_goes_on_from_a_detector_of_other_classes(config: TrainingConfig, tmp_path: Path) -> None:
    train(config)
    before = read_state_dict(config.output)
    one_class = replace(
        config, work_dir=tmp_path / "fine", start_from=config.output, categories=("disc",), steps=1
    )
    frozen = replace(one_class, learning_rate=0.0, output=tmp_path / "fine.safetensors")
    after = read_state_dict(train(frozen))
    kept = [name for name in after if after[name].ndim > 1 and not name.startswith("head.class_logits")]
    assert len(kept) > 20
    for name in kept:
        assert torch.equal(after[name], before[name])
    for name in ("head.class_logits.weight", "head.class_logits.bias"):
        assert torch.equal(after[name], before[name][1:]), "the disc was learned as the second class"


def test_a_run_needs_a_length(config: TrainingConfig) -> None:
    with pytest.raises(SettingsError, match="either steps or hours"):
        train(replace(config, steps=None))


def test_a_few_shapes_are_learned(config: TrainingConfig) -> None:
    run = replace(
        config,
        steps=160,
        batch_size=4,
        learning_rate=2e-3,
        warm_up_steps=10,
        average_decay=0.9,
        val_json=config.train_json,
        save_every=0,
    )
    reports: list[TrainingProgress] = []
    path = train(run, lambda progress: reports.append(progress) if progress.report else None)
    assert reports[-1].report is not None
    detector = load_detector(path, device="cpu", precision="fp32", score_threshold=0.01)
    assert detector.categories == CATEGORIES
    report = evaluate(detector, config.train_json, config.images_dir)
    assert report.ap50 > 0.9
    assert reports[-1].report.ap50 == pytest.approx(report.ap50, abs=0.05)  # float16 on disk
    with (config.work_dir / LOG).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(20, 161, 20))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert float(rows[-1]["ap50"]) > 0.9
