import numpy as np
import torch

from models.network import HeadOutput, Predictions
from models.postprocess import Postprocess
from models.preprocessing import Letterbox

CATEGORIES = ("person", "car", "truck")
WHOLE = Letterbox((200, 100), (200, 100), (200, 100))


def head_output(*images: list[tuple[float, int, tuple[float, float, float, float]]]) -> HeadOutput:
    """Predictions given as (score, label, box) per image; every other score is near 0."""
    points = max(len(image) for image in images)
    logits = torch.full((len(images), points, len(CATEGORIES)), -20.0)
    boxes = torch.zeros(len(images), points, 4)
    for row, image in enumerate(images):
        for point, (score, label, box) in enumerate(image):
            logits[row, point, label] = torch.tensor(score).logit()
            boxes[row, point] = torch.tensor(box)
    return HeadOutput(logits, boxes, torch.zeros(points, 2), torch.ones(points))


def postprocess(**changes: object) -> Postprocess:
    values: dict[str, object] = {"categories": CATEGORIES, "groups": (1, 0, 0)}
    values |= {"score_threshold": 0.3, "iou_threshold": 0.6}
    return Postprocess(**(values | changes))  # type: ignore[arg-type]


def test_detections_come_best_first_and_above_the_threshold() -> None:
    output = head_output(
        [(0.4, 0, (10, 10, 30, 50)), (0.9, 1, (80, 20, 120, 60)), (0.2, 1, (150, 20, 190, 60))]
    )
    (found,) = postprocess()(output, [WHOLE])
    np.testing.assert_allclose(found.scores, [0.9, 0.4], rtol=1e-5)
    assert found.labels.tolist() == [1, 0]
    assert found.boxes.tolist() == [[80, 20, 120, 60], [10, 10, 30, 50]]
    assert found.categories == CATEGORIES


def test_one_object_has_one_box_also_across_exclusive_categories() -> None:
    box = (10.0, 10.0, 50.0, 40.0)
    near = (11.0, 10.0, 51.0, 40.0)
    (found,) = postprocess()(head_output([(0.9, 1, box), (0.8, 2, near), (0.7, 1, near)]), [WHOLE])
    assert found.labels.tolist() == [1]


def test_a_person_in_front_of_a_car_stays() -> None:
    box = (10.0, 10.0, 50.0, 40.0)
    (found,) = postprocess()(head_output([(0.9, 1, box), (0.8, 0, box)]), [WHOLE])
    assert found.labels.tolist() == [1, 0]


def test_a_part_of_a_surer_object_is_no_object() -> None:
    whole, half = (10.0, 10.0, 90.0, 50.0), (10.0, 12.0, 40.0, 48.0)
    beside, beyond = (100.0, 10.0, 160.0, 50.0), (30.0, 10.0, 120.0, 50.0)
    car, truck = 1, 2
    output = head_output(
        [(0.9, car, whole), (0.8, truck, half), (0.7, car, beside), (0.6, truck, beyond)],
        [],
        [(0.9, truck, half), (0.8, car, whole), (0.7, car, beside)],
    )
    found = postprocess(part_share=0.8)(output, [WHOLE] * 3)
    assert [single.labels.tolist() for single in found] == [[car, car, truck], [], [truck, car]]
    kept = postprocess()(output, [WHOLE] * 3)
    assert [len(single) for single in kept] == [4, 0, 3]


def test_a_person_before_a_car_and_a_faint_part_stay() -> None:
    whole, half = (10.0, 10.0, 90.0, 50.0), (10.0, 12.0, 40.0, 48.0)
    output = head_output([(0.9, 1, whole), (0.8, 0, half)], [(0.9, 0, whole), (0.8, 0, half)])
    before, crowd = postprocess(part_share=0.8)(output, [WHOLE] * 2)
    assert before.labels.tolist() == [1, 0]
    assert crowd.labels.tolist() == [0, 0], "people stand before each other"
    faint = head_output([(0.9, 1, whole), (0.4, 1, half)])
    assert len(postprocess(part_share=0.8)(faint, [WHOLE])[0]) == 2
    assert len(postprocess(part_share=0.8)(head_output([]), [WHOLE])[0]) == 0


def test_images_of_a_batch_do_not_suppress_each_other_and_may_be_empty() -> None:
    box = (10.0, 10.0, 50.0, 40.0)
    found = postprocess()(head_output([(0.9, 1, box)], [], [(0.8, 1, box)], []), [WHOLE] * 4)
    assert [len(single) for single in found] == [1, 0, 1, 0]
    assert found[2].scores[0] == np.float32(0.8)


def test_boxes_map_back_to_the_source_exactly_and_are_clipped_to_it() -> None:
    half = Letterbox((401, 199), (200, 100), (224, 128))
    inside, outside = (20.0, 10.0, 100.0, 50.0), (-5.0, 60.0, 223.0, 127.0)
    (found,) = postprocess()(head_output([(0.9, 0, inside), (0.8, 1, outside)]), [half])
    scale = np.array([401 / 200, 1.99, 401 / 200, 1.99])
    np.testing.assert_allclose(found.boxes[0], np.array(inside) * scale, rtol=1e-6)
    np.testing.assert_allclose(found.boxes[1], [0, 60 * 1.99, 401, 199], rtol=1e-6)
    assert found.boxes[1][2] <= 401


def test_boxes_in_the_margin_are_no_objects() -> None:
    letterbox = Letterbox((200, 100), (200, 100), (224, 128))
    (found,) = postprocess()(head_output([(0.9, 0, (205.0, 10.0, 220.0, 50.0))]), [letterbox])
    assert len(found) == 0


def test_no_image_has_more_than_the_most_detections() -> None:
    row = [(0.9 - 0.01 * n, 0, (10.0 * n, 0.0, 10.0 * n + 9, 9.0)) for n in range(15)]
    found = postprocess(most=10)(head_output(row, row[:3]), [WHOLE] * 2)
    assert [len(single) for single in found] == [10, 3]
    np.testing.assert_allclose(found[0].scores[-1], 0.81, rtol=1e-5)


def test_small_boxes_far_out_are_told_apart_in_a_batch_as_they_are_alone() -> None:
    random = torch.Generator().manual_seed(5)
    batch, classes, pairs = 16, 80, 30
    corners = torch.rand(batch, pairs, 2, generator=random) * torch.tensor([3800, 2100])
    whole = torch.cat((corners, corners + 10), dim=2)  # (B, P, 4)
    moved = whole + (1 + torch.rand(batch, pairs, 1, generator=random))  # overlaps around 0.6
    labels = torch.randint(classes, (batch, pairs), generator=random).repeat(1, 2)
    logits = torch.full((batch, 2 * pairs, classes), -20.0)
    logits.scatter_(2, labels[..., None], torch.rand(batch, 2 * pairs, 1, generator=random))
    boxes = torch.cat((whole, moved), dim=1)
    output = Predictions(logits, boxes)
    uhd = Letterbox((3840, 2160), (3840, 2160), (3840, 2176))
    find = postprocess(categories=tuple(map(str, range(classes))), groups=tuple(range(classes)))
    together = find(output, [uhd] * batch)
    alone = [find(Predictions(logits[n, None], boxes[n, None]), [uhd])[0] for n in range(batch)]
    assert [len(found) for found in together] == [len(found) for found in alone]
