"""Images of both domains for the tests of the diagnostics."""

import pytest

from small_probes import PHOTOGRAPHS, photographs, scenes


@pytest.fixture(params=["scenes", "photographs"], scope="module")
def reals(request):
    if request.param == "scenes":
        return scenes()
    if not PHOTOGRAPHS.is_dir():
        pytest.skip("shared/data/summer2winter_yosemite is not here")
    return photographs()
