"""Does a release that is brought from elsewhere keep to the rules of the project that it comes to?"""

import pytest

from formats.kit.handling import Wanted
from formats.pypi.facts import ARCHIVED, QUARANTINED, ProjectFacts
from formats.pypi.handling import bring
from storage.errors import Forbidden
from tests.unit.test_pypi_pages import file, view_of


@pytest.mark.parametrize("status", [ARCHIVED, QUARANTINED])
def test_f14_a_project_that_takes_no_upload_takes_no_copy(status: str) -> None:
    source, closed = view_of(file()), view_of(project=ProjectFacts("Foo.Bar", status, "moved"))
    with pytest.raises(Forbidden, match=status):
        bring(Wanted("foo-bar", "1!2.0+l.1"), source, closed)
    assert bring(Wanted("foo-bar", "1!2.0+l.1"), source, view_of())
