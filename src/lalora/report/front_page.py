"""The page and the pictures of a softened adapter."""

import base64
from pathlib import Path

from lalora.files import json_bytes, write_atomically
from lalora.report.front import Document, headers, sentences, versions
from lalora.report.front_picture import front_picture
from lalora.report.page import part, template


def draw_front(front: Document, folder: Path) -> None:
    """Writes `front.json`, `front.png`, `front.pdf` and the self-contained `report.html` into a folder."""
    picture = front_picture(front)
    page = template("front.html").render(
        front=front,
        sentences=sentences(front),
        headers=headers(front),
        versions=versions(front),
        png=base64.b64encode(picture.png).decode(),
        style=part("style.css"),
    )
    files = {
        "front.json": json_bytes(front),
        "front.png": picture.png,
        "front.pdf": picture.pdf,
        "report.html": page.encode(),
    }
    for name, content in files.items():
        write_atomically(folder / name, content)
