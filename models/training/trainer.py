"""Trains a detection network and writes its weights.

A run is described by a `TrainingConfig` alone. It can be stopped at any time: started again with the
same working folder, it goes on from its last checkpoint with the batches that would have come next.
"""

import csv
import time
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251  only to catch it: torch raises it for what it refuses

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.data import DataLoader

from core.errors import SettingsError, WeightsError
from core.process_memory import keep_freed_memory
from models.catalogue import WeightsEntry
from models.device import choose_device, choose_precision
from models.engine import Execution
from models.network import DetectionNetwork, create_detector_network
from models.one_stage import OneStageDetector
from models.training.augmentation import Strength
from models.training.averaging import AveragedNetwork
from models.training.batches import (
    Batch,
    ExampleDataset,
    ExampleKey,
    Phase,
    StepSampler,
    create_loader,
    sampling_weights,
)
from models.training.config import ProgressCallback, TrainingConfig, TrainingProgress
from models.training.cutouts import Cutouts, cut_out
from models.training.dataset import DetectionDataset, read_coco
from models.training.distillation import Teacher, correlation_loss
from models.training.evaluation import EvaluationReport, evaluate_dataset
from models.training.freezing import fold_frozen_norms, freeze_batch_norms, freeze_stem, unfold_norms
from models.training.losses import DetectionLoss, LossParts
from models.training.schedule import Schedule
from models.training.starting import load_start_weights
from models.training.team import join_team
from models.weights import save_checkpoint

CHECKPOINT = "checkpoint.pt"
LOG = "log.csv"
LOG_EVERY = 20
"""Steps between rows of the log."""
MAX_GRADIENT_NORM = 10.0
OWN_KEYS = ("peak_lr", "weight_decay")
VALIDATION_THRESHOLD = 0.01
"""Average precision needs the low scores too."""
CALIBRATION_CANVAS = (320, 320)
CALIBRATION_PICTURES = 64
CUTOUTS_PER_CLASS = 300
"""Objects of each class to paste from: more look little different, and take seconds to cut out."""


def train(config: TrainingConfig, progress: ProgressCallback | None = None) -> Path | None:
    """Train to the end of the schedule and write `config.output`; returns that path.

    Among processes that train together the leader alone writes it; the others return None.

    Raises UsageError leaves for settings, annotation files and checkpoints that cannot be used.
    """
    run = _Run(config)
    run.resume()
    run.loop(progress or (lambda _: None))
    if run.team.is_leader:
        run.export(config.output)
    run.team.leave()
    return config.output if run.team.is_leader else None


class _Run:
    """The state of one training run."""

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.schedule = Schedule(config.steps, config.hours, config.warm_up_steps, config.phases)
        self.team, self.device = join_team(choose_device(config.device))
        if self.device.type == "cpu":
            keep_freed_memory()
        self.dataset = read_coco(config.train_json, config.images_dir, config.categories)
        _require_boxes(self.dataset, config.train_json)
        self.weights = sampling_weights(self.dataset, config.source_weights)
        self.validation = _validation_set(config)
        torch.manual_seed(config.seed)
        network = create_detector_network(
            config.backbone, config.neck, len(config.categories), config.neck_channels
        )
        self.teacher = Teacher(config.teacher, self.device) if config.teacher is not None else None
        if self.teacher is not None:
            self.teacher.bequeath(network, config.categories)
        if config.start_from is not None:
            load_start_weights(network, config.start_from, config.categories, self._calibration_pictures())
        if config.freeze_batch_norm:
            fold_frozen_norms(network)
        self.network = network.to(self.device)
        self.network = self.network.to(memory_format=torch.channels_last)
        self.average = AveragedNetwork(self.network, config.average_decay)
        self.optimizer = create_optimizer(self.network, config)
        self._to_training_mode()
        self.trained = self.team.wrap(self.network)
        self.loss = DetectionLoss(shared=self.team.mean)
        self.autocast = choose_precision("auto" if config.bf16 else "fp32", self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.autocast is torch.float16)
        self.step = 0
        self.elapsed_s = 0.0
        config.work_dir.mkdir(parents=True, exist_ok=True)

    def _to_training_mode(self) -> None:
        """But for what is to stay as it is."""
        self.network.train()
        if self.config.freeze_stem:
            freeze_stem(self.network.backbone)
        if self.config.freeze_batch_norm:
            freeze_batch_norms(self.network)

    def _calibration_pictures(self) -> Iterator[Tensor]:
        """Training pictures (1, 3, H, W), without mosaic."""
        examples = ExampleDataset(self.dataset, self.weights, self.config.seed)
        for slot in range(CALIBRATION_PICTURES):
            _, example = examples[ExampleKey(0, slot, CALIBRATION_CANVAS, Strength(mosaic=0.0))]
            yield torch.from_numpy(example.image[None]).permute(0, 3, 1, 2).float()

    @property
    def share(self) -> float:
        return self.schedule.progress(self.step, self.elapsed_s)

    def loop(self, progress: ProgressCallback) -> None:
        """Step until the schedule ends, saving and validating on the way and at the end."""
        batches = iter(self._batches()) if self.share < 1.0 else iter(())
        while self.share < 1.0:
            started = time.perf_counter()
            parts, rate = self._train_step(next(batches))
            self.step += 1
            took_s = time.perf_counter() - started
            self.elapsed_s = self.team.as_leader_says(self.elapsed_s + took_s)
            is_last = self.share >= 1.0
            if not self.team.is_leader:
                continue
            if is_last or self._is_due(self.config.save_every):
                self.save()
            report = self.validate() if is_last or self._is_due(self.config.validate_every) else None
            state = TrainingProgress(
                step=self.step,
                share=self.share,
                loss=float(parts.total.detach()),
                classification=float(parts.classification),
                box=float(parts.box),
                rate=rate,
                pictures_per_s=self.config.batch_size / took_s,
                report=report,
            )
            self._log(state)
            progress(state)

    def _is_due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def _batches(self) -> DataLoader[Batch]:
        self.dataset.preload(self.config.cache_bytes)
        examples = ExampleDataset(self.dataset, self.weights, self.config.seed, self._cutouts())
        slots = self.team.slots(self.config.batch_size)
        sampler = StepSampler(self.step, slots, self.config.seed, self._phase_of_step)
        return create_loader(examples, sampler, self.config.loader_workers)

    def _cutouts(self) -> Cutouts | None:
        if not any(phase.strength.pasted for phase in self.config.phases):
            return None
        return cut_out(self.dataset, CUTOUTS_PER_CLASS, np.random.default_rng(self.config.seed))

    def _phase_of_step(self, step: int) -> Phase:
        return self.schedule.phase(self.schedule.progress(step, self.elapsed_s))

    def _train_step(self, batch: Batch) -> tuple[LossParts, float]:
        rate = self.schedule.rate(self.step, self.share)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * rate
        images = batch.images.to(self.device).permute(0, 3, 1, 2).float()  # (B, 3, H, W), channels_last
        with self._autocast():
            output = self.trained(images)
        parts = self.loss(
            output.logits, output.boxes, output.points, output.strides, batch.truth.to(self.device)
        )
        total = parts.total
        if self.teacher is not None:
            with self._autocast():
                shown = self.teacher.levels(images)
            total = total + self.config.teacher_weight * correlation_loss(output.levels, shown)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT_NORM)
        if torch.isfinite(norm):  # a rare overflow costs one step, not the run
            self.scaler.step(self.optimizer)
            self.average.update(self.network)
        self.scaler.update()
        return parts, rate

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not torch.float32)

    def validate(self) -> EvaluationReport | None:
        """Score the averaged weights; None without validation pictures."""
        if self.validation is None:
            return None
        precision = choose_precision("auto" if self.config.bf16 else "fp32", self.device)
        detector = OneStageDetector(
            self.average.network, self._entry(), Execution(self.device, precision), VALIDATION_THRESHOLD
        )
        return evaluate_dataset(
            detector,
            self.validation,
            limit=self.config.validation_limit,
            score_threshold=self.config.score_threshold,
        )

    def export(self, path: Path) -> None:
        """Write the averaged weights with their description."""
        path.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(path, unfold_norms(self.average.network), self._entry())

    def _entry(self) -> WeightsEntry:
        config = self.config
        groups = [tuple(name for name in group if name in config.categories) for group in config.exclusive]
        return WeightsEntry(
            name=config.output.stem,
            architecture=self.network.architecture,
            categories=config.categories,
            canvas=config.canvas,
            score_threshold=config.score_threshold,
            licence=config.licence,
            source=config.source,
            normalization=self.network.normalize.normalization,
            exclusive=tuple(group for group in groups if len(group) > 1),
            iou_threshold=config.iou_threshold,
            part_share=config.part_share,
        )

    def _log(self, state: TrainingProgress) -> None:
        """Append a row to the log: every 20th step, and every validation."""
        if state.step % LOG_EVERY and state.report is None:
            return
        path = self.config.work_dir / LOG
        row = {
            "step": state.step,
            "share": f"{state.share:.4f}",
            "loss": f"{state.loss:.4f}",
            "classification": f"{state.classification:.4f}",
            "box": f"{state.box:.4f}",
            "rate": f"{state.rate:.4f}",
            "pictures_per_s": f"{state.pictures_per_s:.2f}",
            "ap50": f"{state.report.ap50:.4f}" if state.report else "",
        }
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)

    def save(self) -> None:
        """Write the checkpoint whole or not at all."""
        state = {
            "categories": list(self.config.categories),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "average_updates": self.average.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),  # empty unless gradients are scaled
        }
        path = self.config.work_dir / CHECKPOINT
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def resume(self) -> None:
        """Go on from the checkpoint in the working folder, if there is one. Raises WeightsError."""
        path = self.config.work_dir / CHECKPOINT
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.average.network.load_state_dict(state["average"])
            peaks = [{key: group[key] for key in OWN_KEYS} for group in self.optimizer.param_groups]
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, LookupError, ValueError, EOFError, UnpicklingError) as error:
            raise WeightsError(
                f"{path}: expected the checkpoint of a run with {self.network.architecture}, "
                "got one that does not fit; remove it or choose another work folder"
            ) from error
        learned = tuple(state.get("categories", self.config.categories))
        if learned != self.config.categories:
            raise WeightsError(
                f"{path}: expected the checkpoint of a run on {', '.join(self.config.categories)}, "
                f"got one on {', '.join(learned)}; remove it or choose another work folder"
            )
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        for group, own in zip(self.optimizer.param_groups, peaks, strict=True):
            group.update(own)  # rates come from the configuration, which may have changed since
        self.average.updates = state["average_updates"]
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]


def _validation_set(config: TrainingConfig) -> DetectionDataset | None:
    if config.val_json is None:
        return None
    dataset = read_coco(config.val_json, config.val_images_dir or config.images_dir, config.categories)
    _require_boxes(dataset, config.val_json)
    return dataset


def _require_boxes(dataset: DetectionDataset, path: Path) -> None:
    """Raises SettingsError now for what scoring would refuse at the end of the run."""
    if not any((~picture.crowd).any() for picture in dataset.pictures):
        raise SettingsError(
            f"{path}: expected boxes of {', '.join(dataset.categories) or 'some class'} that are no crowds, "
            "got none; check its categories and --classes"
        )


def create_optimizer(network: DetectionNetwork, config: TrainingConfig) -> AdamW:
    """AdamW with a lower rate for the backbone and no decay for norms and biases."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        groups.setdefault((name.startswith("backbone."), parameter.ndim > 1), []).append(parameter)
    return AdamW(
        [
            {
                "params": parameters,
                "peak_lr": config.learning_rate * (config.backbone_share if is_backbone else 1.0),
                "weight_decay": config.weight_decay if decays else 0.0,
            }
            for (is_backbone, decays), parameters in groups.items()
        ],
        lr=config.learning_rate,
    )
