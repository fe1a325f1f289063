"""Makes the archives that a cluster unpacks, each named by its content: Ray's own scheme of packages.

In: the files of a project, or the package rayflow. Out: a URI that equal content always gets, and a zip file whose
bytes depend on nothing else. Never: sends anything.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from rayflow.errors import BadProject
from rayflow.installation import PACKAGE
from rayflow.runtime.wording import size
from rayflow.submission import bootstrap
from rayflow.submission.project_files import LEAVE_OUT, RAY, ProjectFile, where_most_is
from rayflow.values.digests import digest, hash_stream, to_hex

_TIME = (1980, 1, 1, 0, 0, 0)
"""The time of every file in an archive: the earliest that a zip file can hold."""

_PIECE_BYTES = 1 << 20

MOST_PACKED_BYTES = 100 << 20
"""An archive of more bytes is refused: the dashboard of a cluster takes no larger request."""


@dataclass(frozen=True)
class Package:
    """An archive that may have to be sent. uri: its name on the cluster. files: its content."""

    uri: str
    files: Sequence[ProjectFile]
    _digests: dict[str, str] = field(repr=False)

    @property
    def size(self) -> int:
        """The bytes of its files."""
        return sum(file.size for file in self.files)

    def write(self, path: str) -> None:
        """Write the zip file. Raises BadProject when a file is not as it was when the package got its name, and as soon
        as the zip file is too large."""
        with open(path, "wb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in self.files:
                entry = zipfile.ZipInfo(file.name, _TIME)
                entry.create_system = 3  # Unix: then the mode counts
                if file.name.endswith("/"):
                    entry.external_attr = 0o40755 << 16
                    archive.writestr(entry, b"")
                    continue
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = (0o100755 if file.is_program else 0o100644) << 16
                if file.path is None:
                    archive.writestr(entry, b"")
                    continue
                with _reading(file) as source, archive.open(entry, "w", force_zip64=True) as target:
                    while piece := source.read(_PIECE_BYTES):
                        target.write(piece)
                        if stream.tell() > MOST_PACKED_BYTES:
                            raise BadProject(
                                self.too_large(f"{size(MOST_PACKED_BYTES)}, the most that a cluster takes")
                            )
                if _content(file) != self._digests[file.name]:
                    raise BadProject(f"{file.path} was changed while it was being sent: submit again.")

    def too_large(self, most: str) -> str:
        """The error for a package that is too large when it is packed. most: what it is larger than."""
        return (
            f"The project has {size(self.size)}, and packed as a zip file it is larger than {most}. "
            f"{where_most_is([file for file in self.files if file.name != bootstrap.FILE])} {LEAVE_OUT}"
        )


def project_package(files: Iterable[ProjectFile]) -> Package:
    """The package of a project, with the program that finds the cluster's Python. Raises BadProject for a file that
    cannot be read."""
    return _package([*files, ProjectFile(bootstrap.FILE, bootstrap.__file__, os.path.getsize(bootstrap.__file__))])


def own_package() -> Package:
    """The package rayflow as it is installed here."""
    found = []
    for directory, folders, names in os.walk(PACKAGE):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            path = os.path.join(directory, name)
            within = os.path.relpath(path, PACKAGE).replace(os.sep, "/")
            found.append(ProjectFile(f"rayflow/{within}", path, os.path.getsize(path)))
    return _package(found)


def _package(files: Iterable[ProjectFile]) -> Package:
    found = sorted(files, key=lambda file: file.name)
    digests = {file.name: _content(file) for file in found}
    parts = [f"{file.name}\0{'x' if file.is_program else '-'}\0{digests[file.name]}".encode() for file in found]
    return Package(f"gcs://_ray_pkg_{to_hex(digest('package', *parts))}.zip", found, digests)


def _content(file: ProjectFile) -> str:
    """The digest of a file's content, as hex; empty for a mark and for a directory."""
    if file.path is None or file.name.endswith("/"):
        return ""
    with _reading(file) as stream:
        return hash_stream(stream)[1]


def _reading(file: ProjectFile) -> BinaryIO:
    assert file.path is not None
    try:
        return open(file.path, "rb")
    except OSError as error:
        raise BadProject(
            f"{file.path} cannot be read ({error.strerror}), and so the project cannot be sent: name it in {RAY}."
        ) from None
