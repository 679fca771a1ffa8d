"""Arrays in nameless temporary files."""

import errno
import os

import numpy as np
import pytest

from unpaired.errors import RunError
from unpaired.images.disk_array import disk_array


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_disk_array_is_a_file_without_a_name(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    array = disk_array((5, 4, 4, 2), dtype)
    assert not array.any()
    array[:] = 7
    assert isinstance(array, np.memmap)
    assert (array.dtype, array.shape, int(array.sum())) == (dtype, (5, 4, 4, 2), 7 * 160)
    assert os.listdir(tmp_path) == []
    assert disk_array((0, 4, 4, 3), dtype).shape == (0, 4, 4, 3)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no posix_fallocate here")
def test_a_full_disk_is_one_clear_line(monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RunError, match=r"300 bytes .*No space left.*TMPDIR"):
        disk_array((1, 10, 10, 3), np.uint8)
