import math

import pytest
import torch

from models.training.assignment import GroundTruth
from models.training.losses import DetectionLoss, ciou_loss, varifocal_loss
from tests.models.training.test_assignment import grid, truth_of


def test_varifocal_loss_of_hand_computed_cases() -> None:
    logits = torch.zeros(2)  # score 0.5: cross entropy ln 2 whatever the target
    loss = varifocal_loss(logits, torch.tensor([0.8, 0.0]), alpha=0.75, gamma=2.0)
    torch.testing.assert_close(loss, torch.tensor([0.8 * math.log(2), 0.75 * 0.25 * math.log(2)]))


def test_ciou_loss_of_equal_boxes_is_zero() -> None:
    boxes = torch.tensor([[2.0, 3.0, 10.0, 30.0]])
    assert ciou_loss(boxes, boxes).item() == pytest.approx(0.0, abs=1e-6)


def test_ciou_loss_of_shifted_boxes_adds_the_centre_distance() -> None:
    loss = ciou_loss(torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([[5.0, 0.0, 15.0, 10.0]]))
    assert loss.item() == pytest.approx(1 - 50 / 150 + 25 / (15**2 + 10**2), abs=1e-5)


def test_ciou_loss_of_apart_boxes_still_pulls_them_together() -> None:
    predicted = torch.tensor([[0.0, 0.0, 10.0, 10.0]], requires_grad=True)
    ciou_loss(predicted, torch.tensor([[40.0, 0.0, 50.0, 10.0]])).sum().backward()
    assert predicted.grad is not None
    assert predicted.grad[0, 0] + predicted.grad[0, 2] < 0  # descending moves the box right


def test_ciou_loss_of_other_aspect_adds_the_angle_term() -> None:
    predicted, target = torch.tensor([[0.0, 0.0, 20.0, 10.0]]), torch.tensor([[0.0, 0.0, 10.0, 20.0]])
    iou = 100 / 300
    shape = 4 / math.pi**2 * (math.atan(0.5) - math.atan(2.0)) ** 2
    distance = (5**2 + 5**2) / (20**2 + 20**2)
    expected = 1 - iou + distance + shape**2 / (1 - iou + shape)
    assert ciou_loss(predicted, target).item() == pytest.approx(expected, abs=1e-5)


def test_masked_classes_get_no_gradient() -> None:
    points, strides = grid(4)
    truth = truth_of([[0.0, 0.0, 16.0, 16.0]], [1], classes=3)
    truth = GroundTruth(
        truth.boxes,
        truth.labels,
        truth.present,
        torch.tensor([[[0.0, 0.0, 16.0, 32.0]]]),
        torch.tensor([[[True, False, False]]]),
    )
    logits = torch.zeros((1, 16, 3), requires_grad=True)
    boxes = torch.cat((points - 6, points + 6), dim=1)[None].requires_grad_()
    parts = DetectionLoss()(logits, boxes, points, strides, truth)
    parts.total.backward()
    assert logits.grad is not None
    left = points[:, 0] < 16
    assert (logits.grad[0, left, 0] == 0).all()
    assert (logits.grad[0, ~left, 0] > 0).all()
    assert (logits.grad[0, :, 1:] != 0).all()


def test_only_positive_points_move_boxes() -> None:
    points, strides = grid(4)
    truth = truth_of([[0.0, 0.0, 16.0, 16.0]], [1])
    boxes = torch.cat((points - 6, points + 6), dim=1)[None].requires_grad_()
    parts = DetectionLoss()(torch.zeros((1, 16, 2)), boxes, points, strides, truth)
    parts.total.backward()
    assert boxes.grad is not None
    moved = boxes.grad[0].abs().sum(dim=1) > 0
    assert points[moved].tolist() == [[4.0, 4.0], [12.0, 4.0], [4.0, 12.0], [12.0, 12.0]]
    assert parts.positives == 4


def test_loss_without_objects_is_finite_and_falls_with_the_scores() -> None:
    points, strides = grid(2)
    boxes = torch.zeros((1, 4, 4), requires_grad=True)
    losses = [
        DetectionLoss()(torch.full((1, 4, 2), logit), boxes, points, strides, truth_of([], []))
        for logit in (0.0, -4.0)
    ]
    assert losses[0].total > losses[1].total > 0
