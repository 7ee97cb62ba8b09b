"""Writing zip files of texts and arrays; large arrays are deflated by several threads.

A deflate stream may be cut anywhere: each block is deflated on its own and ends with a full flush, and the blocks
after each other are one valid stream. The zipfile module cannot take a member that is deflated already, so

1. the blocks are written as if the member were stored, and
2. the member's entry (method, sizes, checksum) is put right before the directory is written, its local header after.

The bytes do not depend on the number of threads, nor on the time: the same content gives the same file.
"""

import zipfile
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from spd.machine import available_cores

_LEVEL = 1
_MAX_THREADS = 4
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)


class ZipWriter:
    """A zip file to be written; every member is deflated at level 1."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._archive = zipfile.ZipFile(path, "w")
        self._deflated: list[zipfile.ZipInfo] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._archive.close()
        with self._path.open("r+b") as file:
            for info in self._deflated:
                file.seek(info.header_offset)
                file.write(info.FileHeader(zip64=True))

    def text(self, member: str, text: str) -> None:
        """Write a member of UTF-8 text."""
        self._archive.writestr(_info(member, zipfile.ZIP_DEFLATED), text, compresslevel=_LEVEL)

    def array(self, member: str, array: np.ndarray) -> None:
        """Write a .npy member from an array of numbers."""
        self.array_blocks(member, array.dtype, array.shape, [np.ascontiguousarray(array)])

    def array_blocks(self, member: str, dtype: np.dtype, shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> None:
        """Write a .npy member whose rows come in blocks (C-contiguous, a few MB each for speed and memory)."""
        info = _info(member, zipfile.ZIP_STORED)
        size, checksum = 0, 0
        with self._archive.open(info, "w", force_zip64=True) as stream:
            for raw, deflated in _deflate(_raw_blocks(dtype, shape, blocks)):
                size += len(raw)
                checksum = zlib.crc32(raw, checksum)
                stream.write(deflated)
        info.compress_type, info.file_size, info.CRC = zipfile.ZIP_DEFLATED, size, checksum
        self._deflated.append(info)


def npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """What a .npy file of a C-ordered array starts with."""
    header = BytesIO()
    fields = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, fields)
    return header.getvalue()


def _info(member: str, method: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(member, _FIXED_DATE)
    info.compress_type = method
    info.external_attr = 0o644 << 16
    return info


def _raw_blocks(dtype: np.dtype, shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> Iterator[bytes]:
    """The header and the blocks of a .npy file, and after them an empty block that ends the stream."""
    yield npy_header(dtype, shape)
    for block in blocks:
        yield block.tobytes()
    yield b""


def _deflate(blocks: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """(block, deflated block) in order; a few blocks ahead are deflated meanwhile. The last block must be empty."""
    n_threads = min(available_cores(), _MAX_THREADS)
    waiting: deque[tuple[bytes, Future[bytes]]] = deque()
    with ThreadPoolExecutor(n_threads) as pool:
        for block in blocks:
            waiting.append((block, pool.submit(_deflate_block, block)))
            if len(waiting) > 2 * n_threads:
                first, deflated = waiting.popleft()
                yield first, deflated.result()
        for first, deflated in waiting:
            yield first, deflated.result()


def _deflate_block(block: bytes) -> bytes:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(block) + compressor.flush(zlib.Z_FULL_FLUSH if block else zlib.Z_FINISH)
