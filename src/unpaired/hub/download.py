"""Models of a hub by address: `hf://owner/name`, or `hf://owner/name@revision`.

One file is fetched, `model.safetensors`, through huggingface_hub (extra `hub`) and into its cache.
HF_ENDPOINT names another server than the public one. Nothing else here uses a network.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from unpaired.console import log
from unpaired.errors import CheckpointError, ConfigError, MissingExtra, RunError, quoted, reason_of

__all__ = ["FILE", "HubAddress", "endpoint", "hub_errors", "is_hub", "local_model"]

FILE = "model.safetensors"
"""The one file that is fetched and pushed with weights: no pickle."""

_PUBLIC = "https://huggingface.co"
_PREFIX = re.compile(r"hf:/{1,2}")  # a Path of `hf://owner/name` has one slash
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"hf:/{{1,2}}({_NAME})/({_NAME})(?:@([A-Za-z0-9][A-Za-z0-9._/-]{{0,199}}))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubAddress:
    """The address of a model on a hub; `revision` is a branch, a tag or a commit, "" the newest."""

    owner: str
    name: str
    revision: str = ""

    @classmethod
    def parse(cls, text: str | Path) -> "HubAddress":
        """The address that a text is.

        >>> HubAddress.parse("hf://ann/seasons@v1")
        HubAddress(owner='ann', name='seasons', revision='v1')

        Raises:
            ConfigError: it is none.
        """
        text = text.as_posix() if isinstance(text, Path) else text
        found = _ADDRESS.fullmatch(text)
        if found is None or ".." in text or "--" in text:
            raise ConfigError(
                f"{quoted(text)} is no address of a model: give hf://owner/name or "
                "hf://owner/name@revision"
            )
        owner, name, revision = found.groups(default="")
        return cls(owner, name, revision)

    @property
    def repository(self) -> str:
        """Owner and name with a slash between."""
        return f"{self.owner}/{self.name}"

    def __str__(self) -> str:
        return f"hf://{self.repository}" + (f"@{self.revision}" if self.revision else "")


def is_hub(path: str | Path) -> bool:
    """Whether a model's path is an address on a hub.

    >>> is_hub("hf://ann/seasons"), is_hub(Path("hf://ann/seasons")), is_hub("runs/hf")
    (True, True, False)
    """
    text = path.as_posix() if isinstance(path, Path) else path
    return _PREFIX.match(text) is not None


def endpoint() -> str:
    """The server of the hub: HF_ENDPOINT, or the public one."""
    return (os.environ.get("HF_ENDPOINT") or _PUBLIC).rstrip("/")


def local_model(path: str | Path) -> Path:
    """The file of a model: `path` itself, or the cached file of an address, fetched if need be.

    The revision that an address stands for is told, so that it can be pinned; a pinned one that is
    in the cache needs no network.

    Raises:
        ConfigError: an address that is none.
        CheckpointError: no such model or revision, no access, or it has no model.safetensors.
        MissingExtra: huggingface_hub is not installed.
        RunError: the server cannot be reached, or the file cannot be written.
    """
    if not is_hub(path):
        return Path(path)
    address = HubAddress.parse(path)
    with hub_errors(address):
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
        found = hf_hub_download(
            address.repository,
            FILE,
            revision=address.revision or None,
            endpoint=endpoint(),
            library_name="unpaired",
        )
    file = Path(found)
    commit = file.parent.name
    if _COMMIT.fullmatch(commit) and commit != address.revision:
        pinned = HubAddress(address.owner, address.name, commit)
        log.info(f"{address} is now {pinned}: give this to have the same weights again")
    return file


@contextmanager
def hub_errors(address: HubAddress) -> Iterator[None]:
    """Raises errors of one line in place of those of huggingface_hub."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read as it is imported
    try:
        from huggingface_hub import errors
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error, "hub", f"using {address}") from error
    try:
        yield
    except (errors.GatedRepoError, errors.DisabledRepoError) as error:
        raise CheckpointError(
            f"{address} may not be read by you: ask its owner for access"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(
            f"{address}: no such revision: give a branch, tag or commit"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{address}: no such model on {endpoint()}, or it is private (`hf auth login`)"
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise CheckpointError(f"{address} has no {FILE}: it was not pushed by unpaired") from error
    except errors.LocalEntryNotFoundError as error:
        raise RunError(
            f"cannot reach {endpoint()}, and {address} is not in the cache: go online once"
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "none"
        advice = {401: "log in (`hf auth login`)", 403: "your token may not do this"}
        told = advice.get(status, "try again later")
        raise RunError(f"{endpoint()} answers {status} for {address}: {told}") from error
    except errors.HTTPError as error:  # type: ignore[attr-defined]
        raise RunError(f"cannot reach {endpoint()}: {reason_of(error)}") from error
    except OSError as error:
        raise RunError(f"cannot fetch or push {address}: {reason_of(error)}") from error
