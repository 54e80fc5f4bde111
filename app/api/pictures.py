"""Live frames as pictures with their detections drawn on them."""

import cv2
import numpy as np

from app.annotate import LabelledBox, draw_boxes
from core.live_view import LiveFrame

JPEG_QUALITY = 85


def draw_frame(frame: LiveFrame) -> bytes:
    """The frame's picture as a JPEG with its boxes; as it came where it cannot be decoded."""
    image = cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR)  # (H, W, 3) BGR
    if image is None:
        return frame.jpeg
    across, down = image.shape[1] / frame.source_size[0], image.shape[0] / frame.source_size[1]
    boxes = [
        LabelledBox(
            box.x * across,
            box.y * down,
            (box.x + box.width) * across,
            (box.y + box.height) * down,
            box.class_name,
            box.score,
        )
        for box in frame.boxes
    ]
    drawn = draw_boxes(image.astype(np.uint8, copy=False), boxes)
    encoded, jpeg = cv2.imencode(".jpg", drawn, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return jpeg.tobytes() if encoded else frame.jpeg
