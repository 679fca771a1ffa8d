"""The memory that is free: of the machine, and what control groups leave."""

from pathlib import Path

import psutil

from unpaired import memory


def test_free_is_at_most_what_the_machine_has():
    assert 0 < memory.free() <= psutil.virtual_memory().total


def write_group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_a_control_group_of_version_2(tmp_path):
    write_group(tmp_path / "proc/self", cgroup="0::/job/step\n")
    write_group(
        tmp_path / "sys/fs/cgroup/job/step",
        memory__max="1000000\n",
        memory__current="700000\n",
        memory__stat="anon 1\ninactive_file 50000\n",
    )
    assert memory._free_of_groups(tmp_path) == [350_000]


def test_a_control_group_mounted_as_the_root_of_a_container(tmp_path):
    write_group(tmp_path / "proc/self", cgroup="0::/\n")
    write_group(
        tmp_path / "sys/fs/cgroup",
        memory__max="500\n",
        memory__current="800\n",
        memory__stat="inactive_file 0\n",
    )
    assert memory._free_of_groups(tmp_path) == [0]


def test_a_control_group_of_version_1(tmp_path):
    write_group(tmp_path / "proc/self", cgroup="9:name=systemd:/\n4:memory:/box\n0::/\n")
    write_group(
        tmp_path / "sys/fs/cgroup/memory/box",
        memory__limit_in_bytes="9000\n",
        memory__usage_in_bytes="4000\n",
        memory__stat="inactive_file 10\ntotal_inactive_file 1000\n",
    )
    assert memory._free_of_groups(tmp_path) == [6000]


def test_no_limit_and_no_groups(tmp_path):
    assert memory._free_of_groups(tmp_path) == []
    write_group(tmp_path / "proc/self", cgroup="0::/\n")
    assert memory._free_of_groups(tmp_path) == []
    write_group(
        tmp_path / "sys/fs/cgroup", memory__max="max\n", memory__current="1\n", memory__stat=""
    )
    assert memory._free_of_groups(tmp_path) == []
