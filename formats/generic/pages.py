"""How is a directory shown, to people and to programs?

A page holds up to `limit` entries in the order of their names, its directories first. The work is in proportion to the
page: whatever lies below a directory is stepped over, not read.
"""

from datetime import UTC, datetime
from html import escape
from urllib.parse import quote, urlencode

import msgspec

from formats.generic import wire
from formats.generic.wire import Listing
from formats.kit.contract import Document, Show
from storage.errors import Absent
from storage.nouns import View

LAST = "\U0010ffff"
"""Sorts after everything that a segment may hold."""


class Leaf(msgspec.Struct, frozen=True):
    """A file in a listing; `modified` is RFC 3339 in UTC."""

    name: str
    size: int
    modified: str
    sha256: str
    media: str


class Branch(msgspec.Struct, frozen=True):
    """A directory in a listing; its name has no slash."""

    name: str


class Page(msgspec.Struct, frozen=True):
    """One page of a directory; `next` is the `after` of the next one, None at the end."""

    path: str
    directories: list[Branch]
    files: list[Leaf]
    next: str | None


def render(show: Show, view: View) -> Document:
    """A listing as JSON or HTML. Raises Absent where nothing lies below the path."""
    listing = msgspec.json.decode(show.argument, type=Listing)
    page = gather(listing, view)
    headers: tuple[tuple[str, str], ...] = ()
    if page.next is not None:
        headers = (("Link", f'<{_next_link(listing, page.next)}>; rel="next"'),)
    if show.page == "directory.json":
        return Document(msgspec.json.encode(page) + b"\n", headers)
    return Document(_html(listing, page).encode(), headers)


def gather(listing: Listing, view: View) -> Page:
    """The page's entries; asks the View for as many names as it shows, and one more."""
    directories: list[Branch] = []
    files: list[Leaf] = []
    directory, cursor = listing.directory, listing.after
    following: str | None = None
    at = directory + (cursor + LAST if cursor.endswith("/") else cursor) if cursor else ""
    while True:
        jump = ""
        for package in view.packages(prefix=directory, after=at):
            name, slash, _ = package.name[len(directory) :].partition("/")
            if len(directories) + len(files) == listing.limit:
                following = cursor
                break
            cursor = name + slash
            if slash:
                directories.append(Branch(name))
                jump = directory + cursor + LAST
                break
            files.append(_leaf(package.name, name, view))
        if not jump:
            break
        at = jump
    if directory and not listing.after and not directories and not files:
        raise Absent(f"There is no directory {directory}", "Directories exist as long as a file lies in them.")
    return Page(directory, directories, files, following)


def _leaf(path: str, name: str, view: View) -> Leaf:
    file = view.file(path, name)
    if file is None:
        return Leaf(name, -1, "", "", "")
    return Leaf(name, file.size, _moment(file.at_ms), file.sha256.hex(), file.media)


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _next_link(listing: Listing, after: str) -> str:
    arguments = {"after": after}
    if listing.limit != wire.LISTING_DEFAULT:
        arguments["limit"] = str(listing.limit)
    return "?" + urlencode(arguments)


def _html(listing: Listing, page: Page) -> str:
    title = escape("/" + listing.directory)
    rows = [_row("../", "..", "", "", "")] if listing.directory else []
    rows += [_row(f"./{quote(one.name, safe='')}/", one.name + "/", "", "", "") for one in page.directories]
    rows += [
        _row(f"./{quote(one.name, safe='')}", one.name, str(one.size), one.modified, one.sha256) for one in page.files
    ]
    more = ""
    if page.next is not None:
        more = f'<p><a rel="next" href="{escape(_next_link(listing, page.next))}">more</a></p>\n'
    return (
        "<!DOCTYPE html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>\n'
        f"<body><h1>{title}</h1>\n"
        "<table><thead><tr><th>Name</th><th>Size</th><th>Modified</th><th>SHA-256</th></tr></thead>\n"
        f"<tbody>\n{''.join(rows)}</tbody></table>\n{more}</body></html>\n"
    )


def _row(link: str, name: str, size: str, modified: str, sha256: str) -> str:
    # <bdi> keeps a name written from right to left out of its neighbours' order.
    return (
        f'<tr><td><a href="{escape(link)}"><bdi>{escape(name)}</bdi></a></td>'
        f"<td>{size}</td><td>{modified}</td><td><code>{sha256}</code></td></tr>\n"
    )
