"""A Jupyter kernel that tests talk to, and what it answers."""

import subprocess
import time

import pytest

PATIENCE = 120  # seconds for an answer


class Kernel:
    """A kernel of this Python in a folder; `messages` are those of the cells that ran."""

    def __init__(self, folder):
        jupyter = pytest.importorskip("jupyter_client", reason="the extra dev has ipykernel")
        self.manager = jupyter.KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(folder), stderr=subprocess.DEVNULL)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)

    def start(self, code):
        """Starts a cell; `finish` waits for it."""
        return self.client.execute(code)

    def finish(self, cell):
        """Its messages [(type, content)], once it is done."""
        messages, end = [], time.monotonic() + PATIENCE
        while time.monotonic() < end:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") != cell:
                continue
            content = message["content"]
            if message["msg_type"] == "status" and content["execution_state"] == "idle":
                return messages
            messages.append((message["msg_type"], content))
        raise AssertionError(f"the cell never ended: {messages[-5:]}")

    def run(self, code):
        return self.finish(self.start(code))

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def printed(messages):
    return "".join(content["text"] for kind, content in messages if kind == "stream")


def errors(messages):
    return [content for kind, content in messages if kind == "error"]


def of_kind(messages, kind):
    return [content for found, content in messages if found == kind]
