"""Is a list in pages read to its end, at its owner alone and within its bounds?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.asking import paging
from cache.asking.paging import next_page, read
from cache.asking.upstream import Fetched
from formats.kit import contract
from storage.errors import UpstreamFailed

URL = "https://registry.example/v2/app/tags/list"


def test_room_and_reader_mean_the_same_break() -> None:
    assert paging.PAGE_BREAK == contract.PAGE_BREAK


@pytest.mark.parametrize(
    ("link", "there"),
    [
        ('</v2/app/tags/list?last=b&n=2>; rel="next"', f"{URL}?last=b&n=2"),
        ("</v2/app/tags/list?last=b>; rel=next", f"{URL}?last=b"),
        ("<list?last=b>;rel=next", f"{URL}?last=b"),
        ("<?last=b>; rel=next", f"{URL}?last=b"),
        ('</first>; rel="first", </v2/app/tags/list?last=b>; title="x"; rel="next"', f"{URL}?last=b"),
        # a registry that does not know its own name behind a proxy, and one that leads elsewhere
        ('<http://internal:5000/v2/app/tags/list?last=b>; rel="next"', f"{URL}?last=b"),
        ("<//evil.example/steal?x=1>; rel=next", "https://registry.example/steal?x=1"),
        ("<http://user:secret@evil.example>; rel=next", "https://registry.example/"),
        ("<file:///etc/passwd>; rel=next", "https://registry.example/etc/passwd"),
        ('</v2/app/tags/list?last=b>; rel="prev"', ""),
        ('</v2/app/tags/list?last=b>; rel="nextish"', ""),
        ("</x>; rel=prev, </y>", ""),
        ("<http://[broken>; rel=next", ""),
        ("", ""),
        ("x" * 100_000, ""),
    ],
)  # fmt: skip
def test_d2_where_a_link_leads(link: str, there: str) -> None:
    assert next_page(URL, {"link": link}) == there


@given(st.text(st.characters(codec="latin-1"), max_size=200))
def test_d2_no_link_leads_to_another_host(link: str) -> None:
    for text in (link, f"<{link}>; rel=next"):
        there = next_page(URL, {"link": text})
        assert there == "" or there.startswith("https://registry.example/")


class Pages:
    """A registry of pages by address."""

    def __init__(self, *bodies: bytes, status: int = 200) -> None:
        self.asked: list[tuple[str, int]] = []
        self._bodies, self._status = bodies, status

    def __call__(self, url: str, bytes_max: int) -> Fetched:
        number = len(self.asked)
        self.asked.append((url, bytes_max))
        last = number == len(self._bodies) - 1
        headers = {"etag": f'"{number}"', "last-modified": "then", "content-type": "application/json"}
        if not last:
            headers["link"] = f"<?page={number + 1}>; rel=next"
        return Fetched(self._status if last else 200, headers, self._bodies[number], url)


def test_pages_are_one_answer_without_a_validator() -> None:
    """The first page may be as it was while a later one changed: its ETag would keep the old list for ever."""
    pages = Pages(b"one", b"two", b"three")
    found = read(pages, URL, pages_max=10, bytes_max=100)
    assert (found.status, found.body, found.url) == (200, b"one\x1etwo\x1ethree", URL)
    assert found.headers == {"content-type": "application/json", "link": "<?page=1>; rel=next"}
    assert pages.asked == [(URL, 100), (f"{URL}?page=1", 97), (f"{URL}?page=2", 94)]


def test_one_page_is_what_it_was() -> None:
    found = read(Pages(b"one"), URL, pages_max=10, bytes_max=100)
    assert (found.body, found.headers["etag"]) == (b"one", '"0"')


@pytest.mark.parametrize("pages_max", [1, 2])
def test_pages_are_bounded_in_number(pages_max: int) -> None:
    pages = Pages(b"a", b"b", b"c")
    assert read(pages, URL, pages_max=pages_max, bytes_max=100).body == b"\x1e".join([b"a", b"b"][:pages_max])
    assert len(pages.asked) == pages_max


@pytest.mark.parametrize("status", [304, 401, 404, 410, 500])
def test_b5_a_page_that_fails_fails_the_list_and_makes_nothing_absent(status: int) -> None:
    assert read(Pages(b"a", status=status), URL, pages_max=10, bytes_max=100).status == status
    with pytest.raises(UpstreamFailed, match=str(status)):
        read(Pages(b"a", b"b", status=status), URL, pages_max=10, bytes_max=100)


@pytest.mark.parametrize("status", [429, 503])
def test_o8_a_page_that_asks_for_patience_says_so_for_all(status: int) -> None:
    assert read(Pages(b"a", b"b", status=status), URL, pages_max=10, bytes_max=100).status == status


def test_pages_that_are_too_large_together_or_lead_in_a_circle_are_refused() -> None:
    with pytest.raises(UpstreamFailed):
        read(Pages(b"a" * 60, b"b" * 40, b"c"), URL, pages_max=10, bytes_max=100)
    circle = Fetched(200, {"link": "<?again>; rel=next"}, b"a", URL)
    with pytest.raises(UpstreamFailed):
        read(lambda url, bytes_max: Fetched(200, circle.headers, b"a", url), URL, pages_max=10, bytes_max=100)
    with pytest.raises(UpstreamFailed):
        read(Pages(b"a", b"b"), URL, pages_max=10, bytes_max=100, seconds_max=-1)
