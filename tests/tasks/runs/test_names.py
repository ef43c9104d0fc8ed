"""Names that Prefect generated are replaced; names that a person typed are kept."""

import pytest
from prefect.utilities.names import generate_slug

from tasks.runs.names import is_generated


def test_every_name_of_prefects_server_counts_as_generated() -> None:
    assert all(is_generated(generate_slug(2)) for _ in range(500))


@pytest.mark.parametrize("name", ["beta-lyrae", "alpha3-acamar-b", "zeta-canis-majoris-nebula", "omega12-acrux"])
def test_a_name_that_the_form_proposes_counts_as_generated(name: str) -> None:
    assert is_generated(name)


@pytest.mark.parametrize(
    "name", ["night-test", "yard again", "cam2-redo", "beta-test", "posenet-075 on /videos", "Monday", "a-b", ""]
)
def test_a_typed_name_does_not_count_as_generated(name: str) -> None:
    assert not is_generated(name)
