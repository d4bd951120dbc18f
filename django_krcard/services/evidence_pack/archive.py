"""The pack as a ZIP, the same bytes each time."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

#: The oldest moment that a ZIP can name: when it was made is not told.
LONG_AGO = (1980, 1, 1, 0, 0, 0)
UNIX = 3


def write(facts: dict[str, Any], data: str, page: str, attachments: tuple[tuple[str, bytes], ...]) -> bytes:
    files = {
        "README.txt": (HERE / "README.txt").read_bytes(),
        "evidence.json": data.encode(),
        "evidence.html": page.encode(),
        "verify.py": (HERE / "verify.py").read_bytes(),
    }
    files |= {f"texts/{consent['public_id']}.txt": consent["text"].encode() for consent in facts["consents"]}
    files |= {f"attachments/{name}": content for name, content in attachments}
    for reference, answer in facts.get("disputes", {}).items():
        number = list(facts["disputes"]).index(reference) + 1
        files |= {
            f"disputes/{number}/{name}.txt": words.encode()
            for name, words in sorted((answer["texts"] | answer["files"]).items())
        }
    files["MANIFEST"] = "".join(_line(name, content) for name, content in files.items()).encode()
    return _zipped(files)


def _line(name: str, content: bytes) -> str:
    """As ``sha256sum`` writes and reads it."""
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n"


def _zipped(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    # Not compressed: two releases of zlib may pack the same bytes differently.
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.create_system, entry.external_attr = UNIX, 0o644 << 16
            archive.writestr(entry, content)
    return target.getvalue()
