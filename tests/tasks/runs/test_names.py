"""Names that Prefect made up are replaced; names that a person typed are kept."""

import pytest
from prefect.utilities.names import generate_slug

from tasks.runs.names import is_generated


def test_every_name_of_prefects_server_is_known_as_made_up() -> None:
    assert all(is_generated(generate_slug(2)) for _ in range(500))


@pytest.mark.parametrize("name", ["beta-lyrae", "alpha3-acamar-b", "zeta-canis-majoris-nebula", "omega12-acrux"])
def test_a_name_that_the_form_proposes_is_made_up(name: str) -> None:
    assert is_generated(name)


@pytest.mark.parametrize(
    "name", ["night-test", "yard again", "cam2-redo", "beta-test", "posenet-075 on /videos", "Monday", "a-b", ""]
)
def test_a_name_that_a_person_typed_is_not(name: str) -> None:
    assert not is_generated(name)
