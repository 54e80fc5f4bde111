"""Thin shells around the trainer and the evaluation: defaults, progress, and one line per error."""

from pathlib import Path
from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.tables import print_hint, stderr
from app.training_data import default_images
from app.training_run import finish_run, write_config
from core.errors import SettingsError
from core.settings import Settings
from models.detector import load_detector
from models.training.config import TrainingConfig, TrainingProgress
from models.training.evaluation import EvaluationReport, evaluate
from models.training.trainer import CUTOUTS_PER_CLASS, train

EVALUATION_SCORE = 0.01
"""Precision and recall are judged over all scores; what lies below changes the third digit of AP at most."""
PLAIN_EVERY_STEPS = 50


def evaluate_detector(
    data: Path, images: Path | None, limit: int | None, settings: Settings
) -> EvaluationReport:
    """Scores the detector of the settings on a COCO file. Raises UsageError leaves."""
    words = settings.model_name, settings.device, settings.precision.value
    threshold = load_detector(*words, score_threshold=settings.score_threshold).score_threshold
    detector = load_detector(*words, score_threshold=EVALUATION_SCORE, canvas=settings.canvas_size)
    detector.warm_up(settings.batch_size)
    return evaluate(
        detector,
        data,
        images or default_images(data),
        batch_size=settings.batch_size,
        limit=limit,
        score_threshold=threshold,
    )


def train_detector(config: TrainingConfig) -> Path | None:
    """Trains to the end of the schedule with a progress bar, or plain lines; returns the weights file.

    None in a process that helped another one, which writes the file.
    """
    if (config.steps is None) == (config.hours is None):
        raise SettingsError(
            "expected one of --steps and --hours, got " + ("neither" if config.steps is None else "both")
        )
    write_config(config)
    if any(phase.strength.pasted for phase in config.phases):
        print_hint(f"cutting out up to {CUTOUTS_PER_CLASS} objects of each class before the first step")
    with _RunDisplay(config.work_dir) as display:
        path = train(config, display.show)
    if path is not None:
        report = finish_run(config)
        on = "validation pictures" if config.val_json else "the pictures that it was trained on"
        print_hint(
            f"AP50 {report.ap50:.3f}, AP {report.ap:.3f} on {on}; curves and pictures in {config.work_dir}"
        )
    return path


class _RunDisplay:
    """A progress bar, or plain lines where standard error is no terminal.

    It appears with the first step that it is told of: processes that only help another one show nothing.
    """

    def __init__(self, work_dir: Path) -> None:
        self._work_dir = work_dir
        self._console = stderr()
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def show(self, state: TrainingProgress) -> None:
        """One step was taken."""
        if self._task is None:
            if state.step > 1:
                print_hint(f"going on after step {state.step - 1} of {self._work_dir}")
            self._bar.start()
            self._task = self._bar.add_task("training", total=1.0)
        line = f"step {state.step}: loss {state.loss:.3f}, {state.pictures_per_s:.1f} pictures/s"
        self._bar.update(self._task, completed=state.share, description=line)
        if state.report is not None:
            print_hint(f"step {state.step}: AP50 {state.report.ap50:.3f}, AP {state.report.ap:.3f}")
        elif not self._console.is_terminal and state.step % PLAIN_EVERY_STEPS == 0:
            print_hint(f"{line}, {state.share:.0%}")
