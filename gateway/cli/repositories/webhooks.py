"""How is a receiver told of what happens, from a terminal?"""

from pathlib import Path
from typing import Any, NamedTuple

from cyclopts import App

from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.profiles import read_lines, read_secret
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, seconds, when

app = App(name="webhook", help="Tell receivers outside of what happens.")


class Named(NamedTuple):
    """A webhook by its names; `repository` "" = of the workspace."""

    workspace: str
    repository: str
    name: str

    @property
    def path(self) -> str:
        return f"/workspaces/{self.workspace}/webhooks/{self.name}"


@app.command(name="create")
def create(
    webhook: str,
    /,
    *,
    to: str = "",
    to_file: str = "",
    event: tuple[str, ...] = (),
    query: str = "",
    template: str = "",
    media: str = "application/json",
    header: tuple[str, ...] = (),
    header_file: str = "",
    private_network: bool = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Have a receiver told of events. Its signing secret is shown now and never again.

    Parameters
    ----------
    webhook
        WORKSPACE/NAME, or WORKSPACE/REPOSITORY/NAME for what happens in one repository; the name is yours to choose.
    to
        The address of the receiver. Nobody is ever shown more of it than its host; but a command line is seen by every
        user of the machine, so one with a secret in it is better given as --to-file.
    to_file
        A file that holds the address, or - for stdin.
    event
        Like package.published, or package.* for all of a kind. May be given several times; without it, all there are.
    query
        Only packages that this query finds, as in `entrepot search`, by what an event tells: name, format, repository,
        version, tag, filename, checksum, size, uploaded.
    template
        The file of a template, with places like {{data.package}}.
    media
        What the template makes: application/json, text/plain or application/x-www-form-urlencoded.
    header
        NAME=VALUE, sent with each request and shown to nobody. May be given several times.
    header_file
        A file of such lines, NAME=VALUE or NAME: VALUE, or - for stdin: values that no command line shows.
    private_network
        The receiver is not on the public Internet. Needs admin on everything.
    """
    at = _named(webhook)
    if not to and not to_file:
        raise Usage("It is not said who is to be told.", "Add --to URL, or --to-file FILE.")
    body: dict[str, Any] = {
        "name": at.name,
        "repository": at.repository,
        "url": _address(to, to_file),
        "events": list(event),
        "query": query,
        "template": _template(template),
        "media": media,
        "headers": _headers(header, header_file),
        "private_network": private_network,
    }
    with reach(url, profile) as node:
        made = node.post(f"/workspaces/{at.workspace}/webhooks", body)
    out = Output(json)
    out.fact(made, made["secret"])
    out.note(f"{made['host']} is told. Requests are signed with this secret, which is not shown again.")


@app.command(name="list")
def list_webhooks(
    workspace: str,
    /,
    *,
    repository: str = "",
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """List the webhooks of a workspace and its repositories, and how far each is.

    Parameters
    ----------
    workspace
        The workspace.
    repository
        Those of this repository alone.
    """
    with reach(url, profile) as node:
        found = list(node.items(f"/workspaces/{workspace}/webhooks", repository=repository))
    rows = [
        (
            one["name"],
            one["repository"] or "-",
            one["host"],
            ",".join(one["events"]) or "*",
            "on" if one["enabled"] else "off",
            one["queue"]["lag_entries"],
        )
        for one in found
    ]
    Output(json).rows({"items": found}, ("webhook", "repository", "to", "events", "state", "behind"), rows)


@app.command(name="show")
def show(webhook: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Show a webhook, and how far it is.

    Parameters
    ----------
    webhook
        WORKSPACE/NAME or WORKSPACE/REPOSITORY/NAME.
    """
    with reach(url, profile) as node:
        one = node.get(_named(webhook).path)
    queue = one["queue"]
    lines = [
        f"{webhook} -> {one['host']}",
        f"state: {'on' if one['enabled'] else 'off: ' + one['why']}",
        f"events: {', '.join(one['events']) or 'all'}" + (f", of what {one['query']} finds" if one["query"] else ""),
        f"settled up to entry {queue['serial']}, {queue['lag_entries']} behind, {queue['waiting']} waiting",
        f"delivered {queue['delivered']}, refused {queue['refused']}, given up {queue['given_up']}",
    ]
    Output(json).fact(one, "\n".join(lines))


@app.command(name="update")
def update(
    webhook: str,
    /,
    *,
    to: str | None = None,
    to_file: str = "",
    event: tuple[str, ...] | None = None,
    query: str | None = None,
    template: str | None = None,
    media: str | None = None,
    header: tuple[str, ...] | None = None,
    header_file: str = "",
    private_network: bool | None = None,
    enabled: bool | None = None,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Change a webhook; what is not named stays.

    Where one in the private network goes and what it sends, whoever administers the node says. With --to and
    --no-private-network it leads there no more, and its headers are given anew.

    Parameters
    ----------
    webhook
        WORKSPACE/NAME or WORKSPACE/REPOSITORY/NAME.
    to
        Another address.
    to_file
        A file that holds it, or - for stdin.
    event
        These events, in the place of those before; "*" for all.
    query
        Only packages that this query finds, "" for all.
    template
        The file of another template, "" for the event as JSON.
    media
        What the template makes.
    header
        NAME=VALUE, in the place of all headers before.
    header_file
        A file of such lines, or - for stdin.
    private_network
        The receiver is not on the public Internet; goes with --to.
    enabled
        Switch it on, or off with --no-enabled. Switched on, it goes on where it stopped.
    """
    asked = {
        "url": _address(to, to_file) or None,
        "events": list(event) if event else None,
        "query": query,
        "template": None if template is None else _template(template),
        "media": media,
        "headers": _headers(header or (), header_file) if header or header_file else None,
        "private_network": private_network,
        "enabled": enabled,
    }
    body = {name: value for name, value in asked.items() if value is not None}
    if not body:
        raise Usage("Nothing is to be changed.", "Name what is: --to, --event, --query, --enabled ...")
    with reach(url, profile) as node:
        changed = node.patch(_named(webhook).path, body)
    Output(json).fact(changed, f"{webhook} is changed.")


@app.command(name="delete")
def delete(webhook: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Tell this receiver no more.

    Parameters
    ----------
    webhook
        WORKSPACE/NAME or WORKSPACE/REPOSITORY/NAME.
    """
    with reach(url, profile) as node:
        node.delete(_named(webhook).path)
    Output(json).fact({"deleted": webhook}, f"{webhook} is gone.")


@app.command(name="rotate")
def rotate(
    webhook: str, /, *, overlap: str = "1d", json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """Make a new signing secret, which is shown once.

    Parameters
    ----------
    webhook
        WORKSPACE/NAME or WORKSPACE/REPOSITORY/NAME.
    overlap
        For so long each request is signed with the old one as well: 1h, 2d; 0 ends it at once.
    """
    with reach(url, profile) as node:
        made = node.post(_named(webhook).path + "/rotate", {"overlap_s": seconds(overlap)})
    Output(json).fact(made, made["secret"])


@app.command(name="ping")
def ping(webhook: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> int:
    """Send a ping now, and tell what came of it. Exit code 1 where it was not taken.

    Parameters
    ----------
    webhook
        WORKSPACE/NAME or WORKSPACE/REPOSITORY/NAME.
    """
    with reach(url, profile) as node:
        return _tell(Output(json), node.post(_named(webhook).path + "/ping", None))


@app.command(name="deliveries")
def deliveries(
    webhook: str,
    /,
    *,
    limit: int = 50,
    failed: bool = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """List the last attempts, the latest first.

    Parameters
    ----------
    webhook
        WORKSPACE/NAME or WORKSPACE/REPOSITORY/NAME.
    limit
        At most so many.
    failed
        Only those that were not taken.
    """
    found: list[Any] = []
    with reach(url, profile) as node:
        for one in node.items(_named(webhook).path + "/deliveries"):
            if len(found) == limit:
                break
            if not (failed and one["delivered"]):
                found.append(one)
    rows = [
        (
            one["number"],
            when(one["at_ms"]),
            one["event"],
            one["serial"] or "-",
            one["attempt"],
            one["status"] or one["problem"],
            f"{one['took_ms']}ms",
        )
        for one in found
    ]
    Output(json).rows({"items": found}, ("number", "time", "event", "entry", "attempt", "answer", "took"), rows)


@app.command(name="redeliver")
def redeliver(webhook: str, number: int, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> int:
    """Send again what one attempt sent, with the same id. Exit code 1 where it was not taken.

    Parameters
    ----------
    webhook
        WORKSPACE/NAME or WORKSPACE/REPOSITORY/NAME.
    number
        Of the attempt, as webhook deliveries shows it.
    """
    with reach(url, profile) as node:
        return _tell(Output(json), node.post(f"{_named(webhook).path}/deliveries/{number}/redeliver", None))


@app.command(name="replay")
def replay(
    webhook: str,
    /,
    *,
    after: int,
    system_after: int | None = None,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Tell again what happened behind an entry of the journal; each event has the id that it had.

    Parameters
    ----------
    webhook
        WORKSPACE/NAME or WORKSPACE/REPOSITORY/NAME.
    after
        The Serial of an entry of the workspace, as `entrepot audit list` shows it; 0 = from the beginning.
    system_after
        Also what happened behind this entry of the journal "-": tokens, entitlements, hosts.
    """
    body = {"serial": after} | ({} if system_after is None else {"system_serial": system_after})
    with reach(url, profile) as node:
        told = node.post(_named(webhook).path + "/replay", body)
    Output(json).fact(told, f"{webhook} begins again behind entry {after}.")


@app.command(name="events")
def events(*, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List the events there are, and what each tells."""
    with reach(url, profile) as node:
        found = node.get("/webhook-events")
    rows = [(one["name"], one["told"], " ".join(one["data"])) for one in found["events"]]
    Output(json).rows(found, ("event", "when", "data"), rows)


def _named(text: str) -> Named:
    """WORKSPACE[/REPOSITORY]/NAME. Raises Usage."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise Usage(f'"{text}" names no webhook.', "Write it as WORKSPACE/NAME or WORKSPACE/REPOSITORY/NAME.")
    return Named(parts[0], parts[1] if len(parts) == 3 else "", parts[-1])


def _template(path: str) -> str:
    try:
        return Path(path).read_text() if path else ""
    except (OSError, UnicodeDecodeError):
        raise Usage("The file of the template cannot be read.", "Check --template.") from None


def _address(to: str | None, file: str) -> str:
    """Raises Usage, which never repeats it."""
    if to and file:
        raise Usage("The address is given twice.", "Give --to or --to-file.")
    return read_secret(file, "address") if file else to or ""


def _headers(given: tuple[str, ...], file: str) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    lines = read_lines(file, "headers") if file else []
    for line in lines:
        mark = min((one for one in "=:" if one in line), key=line.index, default="=")
        name, equals, value = line.partition(mark)
        pairs.append((name.strip(), equals, value.strip()))
    if not all(name and equals and value for name, equals, value in pairs):
        raise Usage("A header is not understood.", "Write it as NAME=VALUE.")
    return {name: value for name, _, value in pairs}


def _tell(out: Output, delivery: Any) -> int:
    answer = delivery["status"] or delivery["problem"]
    out.fact(delivery, f"{delivery['event']} {delivery['message']}: {answer} in {delivery['took_ms']}ms")
    return 0 if delivery["delivered"] else 1
