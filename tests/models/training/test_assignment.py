import torch

from models.training.assignment import (
    GroundTruth,
    TaskAlignedAssigner,
    judged_classes,
    pairwise_iou,
    points_inside,
)


def grid(cells: int, stride: float = 8.0) -> tuple[torch.Tensor, torch.Tensor]:
    axis = (torch.arange(cells) + 0.5) * stride
    ys, xs = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.stack((xs, ys), dim=-1).view(-1, 2)
    return points, torch.full((len(points),), stride)


def truth_of(boxes: list[list[float]], labels: list[int], classes: int = 2) -> GroundTruth:
    count = len(boxes)
    return GroundTruth(
        torch.tensor(boxes).view(1, count, 4),
        torch.tensor(labels, dtype=torch.int64).view(1, count),
        torch.ones((1, count), dtype=torch.bool),
        torch.zeros((1, 0, 4)),
        torch.zeros((1, 0, classes), dtype=torch.bool),
    )


def test_iou_of_shifted_boxes() -> None:
    first = torch.tensor([[[0.0, 0.0, 10.0, 10.0]]])
    second = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 15.0, 10.0], [20.0, 20.0, 30.0, 30.0]]])
    expected = torch.tensor([[[1.0, 50 / 150, 0.0]]])
    torch.testing.assert_close(pairwise_iou(first, second), expected)


def test_points_inside_counts_tiny_boxes_as_a_stride_and_a_half() -> None:
    points, strides = grid(4)
    inside = points_inside(points, strides, torch.tensor([[[0.0, 0.0, 16.0, 8.0], [15.0, 15.0, 17.0, 17.0]]]))
    assert points[inside[0, 0]].tolist() == [[4.0, 4.0], [12.0, 4.0]]
    assert points[inside[0, 1]].tolist() == [[12.0, 12.0], [20.0, 12.0], [12.0, 20.0], [20.0, 20.0]]


def test_best_aligned_point_gets_the_best_iou_as_its_quality() -> None:
    points, strides = grid(2)
    truth = truth_of([[0.0, 0.0, 16.0, 16.0]], [1])
    boxes = torch.tensor(
        [[[0.0, 0.0, 16.0, 16.0], [0.0, 0.0, 8.0, 16.0], [0.0, 0.0, 16.0, 16.0], [0.0, 0.0, 4.0, 4.0]]]
    )  # IoU 1, 1/2, 1, 1/16
    scores = torch.tensor([[[0.9, 0.5], [0.9, 0.5], [0.9, 0.25], [0.9, 0.5]]])
    assigned = TaskAlignedAssigner(top_k=3, alpha=1.0, beta=1.0).assign(scores, boxes, points, strides, truth)
    # alignment of class 1: 0.5, 0.25, 0.25, 1/32: three are positive, each alignment over 0.5 times IoU 1
    assert assigned.positive.tolist() == [[True, True, True, False]]
    torch.testing.assert_close(assigned.quality[0, :, 1], torch.tensor([1.0, 0.5, 0.5, 0.0]))
    assert assigned.quality[0, :, 0].sum() == 0
    torch.testing.assert_close(assigned.boxes[0, 0], truth.boxes[0, 0])


def test_a_point_in_two_boxes_serves_the_one_it_overlaps_more() -> None:
    points, strides = grid(2)
    truth = truth_of([[0.0, 0.0, 16.0, 16.0], [0.0, 0.0, 9.0, 9.0]], [0, 1])
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], *[[0.0, 0.0, 16.0, 16.0]] * 3]).view(1, 4, 4)
    scores = torch.full((1, 4, 2), 0.5)
    assigned = TaskAlignedAssigner().assign(scores, boxes, points, strides, truth)
    assert assigned.quality[0, 0, 0] == 0
    assert assigned.quality[0, 0, 1] > 0.9
    assert (assigned.quality[0, 1:, 0] > 0.9).all()


def test_without_objects_everything_is_negative() -> None:
    points, strides = grid(2)
    boxes = torch.zeros((1, 4, 4))
    assigned = TaskAlignedAssigner().assign(
        torch.full((1, 4, 2), 0.5), boxes, points, strides, truth_of([], [])
    )
    assert not assigned.positive.any()
    assert assigned.quality.sum() == 0


def test_padding_attracts_no_points() -> None:
    points, strides = grid(2)
    truth = truth_of([[0.0, 0.0, 16.0, 16.0]], [0])
    truth.present[0, 0] = False
    assigned = TaskAlignedAssigner().assign(
        torch.full((1, 4, 2), 0.5), torch.rand(1, 4, 4), points, strides, truth
    )
    assert not assigned.positive.any()


def test_ignored_regions_take_only_their_classes_out() -> None:
    points, _ = grid(2)
    truth = GroundTruth(
        torch.zeros((1, 0, 4)),
        torch.zeros((1, 0), dtype=torch.int64),
        torch.zeros((1, 0), dtype=torch.bool),
        torch.tensor([[[0.0, 0.0, 8.0, 16.0], [0.0, 0.0, 0.0, 0.0]]]),
        torch.tensor([[[True, False], [False, False]]]),
    )
    expected = [[False, True], [True, True], [False, True], [True, True]]  # points row by row
    assert judged_classes(points, truth)[0].tolist() == expected
