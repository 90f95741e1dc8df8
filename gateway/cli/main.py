"""What does `entrepot ...` on a command line do?

Commands are found in one file for each group, imported when they are called: `entrepot ls` does not load a server.

Exit codes, the same for every command:
    0  done
    1  it went wrong, and the message says how
    2  the command line is wrong
    3  there is no such thing, or none that this token may know of
    4  a token is missing, no good, or not allowed this
    5  the node cannot be reached, or cannot do it now
"""

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from gateway.cli import profiles
from gateway.cli.client import giving_reason
from gateway.cli.output import Output, Usage, exit_code_of
from gateway.console.calls.clock import version
from storage.errors import Problem

EXIT_INTERRUPTED = 130

app = App(
    name="entrepot",
    version=version,
    help="An open artifact registry and package delivery network.",
    help_epilogue="ENTREPOT_URL and ENTREPOT_TOKEN say which node to speak to and as whom, or a profile does. "
    "--reason TEXT, with any command that changes something, is kept in the audit.",
)
app.command("gateway.cli.starting:up", name="up", help="Start an origin and an edge on this machine.")
app.command("gateway.cli.serving:serve", name="serve", help="Run one node.")
app.command("gateway.cli.tenancy:workspaces", name="workspace", help="Workspaces.")
app.command("gateway.cli.tenancy:repositories", name="repo", help="Repositories.")
app.command("gateway.cli.tokens:app", name="token", help="Tokens: make, list, revoke.")
app.command("gateway.cli.people:users", name="user", help="Users of a node.")
app.command("gateway.cli.people:members", name="member", help="Who belongs to a workspace, and as what.")
app.command("gateway.cli.people:teams", name="team", help="Teams of a workspace.")
app.command("gateway.cli.people:services", name="service", help="Service accounts of a workspace.")
app.command("gateway.cli.giving:roles", name="role", help="Roles: sets of actions under a name.")
app.command("gateway.cli.giving:grants", name="grant", help="Grants: give, list, take.")
app.command("gateway.cli.giving:access", name="access", help="Who may do what, and why.")
app.command("gateway.cli.oidc:app", name="oidc", help="Let builds in by what their CI says of them, without secrets.")
app.command("gateway.cli.sso:app", name="sso", help="Let people sign in at an identity provider.")
app.command("gateway.cli.scim:app", name="scim", help="Let an identity provider keep users and teams.")
app.command("gateway.cli.edges:app", name="edge", help="Edges: invite, list, change, revoke.")
app.command("gateway.cli.entitlements:app", name="entitlement", help="Tokens for customers, with limits.")
app.command("gateway.cli.upstreams:app", name="upstream", help="Foreign registries that a repository draws from.")
app.command("gateway.cli.keys:app", name="key", help="Keys that a repository signs its indexes with.")
app.command("gateway.cli.hosts:app", name="host", help="Host names, and what they imply.")
app.command("gateway.cli.withholding:app", name="quarantine", help="Packages that no node gives out.")
app.command("gateway.cli.withholding:purge", name="purge", help="Have every node get anew what it keeps of a place.")
app.command("gateway.cli.pushing:push", name="push", help="Publish files by the native protocol of their format.")
app.command("gateway.cli.removing:delete", name="delete", help="Delete packages or versions; into the bin, if any.")
app.command("gateway.cli.removing:app", name="bin", help="What was deleted and can come back.")
app.command("gateway.cli.removing:restore", name="restore", help="Bring back what was deleted, out of the bin.")
app.command("gateway.cli.copying:copy", name="copy", help="Copy packages or versions into another repository.")
app.command("gateway.cli.copying:move", name="move", help="Copy them, and take them away where they were.")
app.command("gateway.cli.copying:tags", name="tag", help="Tags of a package: add, move, remove, list.")
app.command("gateway.cli.packages:ls", name="ls", help="List the packages of a repository.")
app.command("gateway.cli.searching:search", name="search", help="Find packages in all repositories you may read.")
app.command("gateway.cli.warming:warm", name="warm", help="Have an edge fetch what a lock file or a query names.")
app.command("gateway.cli.packages:setup", name="setup", help="Show how to point a client at a repository.")
app.command("gateway.cli.operate:status", name="status", help="Show how a node is doing.")
app.command("gateway.cli.describing:app", name="api", help="The management API, for programs.")
app.command("gateway.cli.operate:fsck", name="fsck", help="Check what a node has stored.")
app.command("gateway.cli.quotas:app", name="quota", help="What workspaces and repositories hold, and may hold.")
app.command("gateway.cli.webhooks:app", name="webhook", help="Tell receivers outside of what happens.")
app.command("gateway.cli.audit:app", name="audit", help="Who did what: list, show, export, verify.")
app.command("gateway.cli.networks:app", name="network", help="From where a repository can be used.")
app.command(
    "gateway.cli.replication:app", name="replication", help="What nodes of a region hold before they are asked."
)
app.command("gateway.cli.usage:usage", name="usage", help="What clients were served, counted.")
app.command("gateway.cli.usage:top", name="top", help="Which packages, countries, clients or principals the most.")
app.command("gateway.cli.logs:app", name="logs", help="Requests of clients: the latest, or all of them exported.")
app.command("gateway.cli.usage:pulls", name="pulls", help="How often versions and tags were downloaded, when last.")
app.command("gateway.cli.upkeep:sweep", name="sweep", help="Give back the room of what no file names any more.")
app.command("gateway.cli.upkeep:scrub", name="scrub", help="Read everything that a node has stored and compare.")
app.command("gateway.cli.operate:rebuild_index", name="rebuild-index", help="Compute the index anew from the journal.")
app.command("gateway.cli.operate:admin_token", name="admin-token", help="Make a new admin token for an origin.")
app.command("gateway.cli.credentials:app", name="credential", help="The token for other programs: docker, pip, npm.")
app.command("gateway.cli.completing:completion", name="completion", help="Let a shell complete commands and options.")
app.command("gateway.cli.loggingin:login", name="login", help="Get a token of your own for this terminal.")
app.command("gateway.cli.loggingin:logout", name="logout", help="Revoke the profile's token and forget it.")
app.command("gateway.cli.loggingin:whoami", name="whoami", help="Show as whom you speak to a node.")
app.command("gateway.cli.profiles:app", name="profile", help="Names for nodes and the tokens to use with them.")


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line; the exit code."""
    out = Output("--json" in arguments)
    try:
        arguments, profile = with_profile(arguments)
    except Problem as problem:
        return out.problem(problem)
    if arguments and not arguments[0].startswith("-") and arguments[0] not in set(app):
        # said here, since the library would load every command to look for one of a similar name
        return out.problem(Usage(f'There is no command "{arguments[0]}".', "entrepot --help shows those there are."))
    try:
        arguments, reason = with_reason(joined(arguments))
        with giving_reason(reason), profiles.choosing(profile):
            code = app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return out.problem(Usage(str(error), "Add --help to see what the command takes."))
    except Problem as problem:
        return out.problem(problem)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has had enough; what is still buffered must not raise again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_code_of(Problem(""))
    return code if isinstance(code, int) else 0


def with_profile(arguments: Sequence[str]) -> tuple[list[str], str]:
    """The arguments without a `--profile NAME` ahead of the command, and the name. Raises Usage."""
    if not arguments or arguments[0].partition("=")[0] != "--profile":
        return list(arguments), ""
    _, equals, name = arguments[0].partition("=")
    left = list(arguments[1:] if equals else arguments[2:])
    name = name or "".join(arguments[1:2])
    if not name or not left:
        raise Usage("--profile names none.", "Write it as: entrepot --profile NAME COMMAND.")
    return left, name


def joined(arguments: Sequence[str]) -> list[str]:
    """`--option -` as `--option=-`: the library takes a lone dash, which means standard input, for an option."""
    found: list[str] = []
    for one in arguments:
        if one == "-" and found and found[-1].startswith("--") and "=" not in found[-1] and found[-1] != "--":
            found[-1] += "=-"
        else:
            found.append(one)
    return found


def with_reason(arguments: Sequence[str]) -> tuple[list[str], str]:
    """The arguments without `--reason TEXT`, which every command takes, and the text. Raises Usage.

    A quarantine has a reason of its own, which clients are told; it is the command's.
    """
    left, reason = list(arguments), ""
    end = left.index("--") if "--" in left else len(left)
    if left[:1] == ["quarantine"]:
        return left, ""
    for at, one in enumerate(left[:end]):
        if one == "--reason":
            if at + 1 == len(left):
                raise Usage("--reason is given without a reason.", 'Write it as --reason "why this is done".')
            return left[:at] + left[at + 2 :], left[at + 1]
        if one.startswith("--reason="):
            return left[:at] + left[at + 1 :], one.partition("=")[2]
    return left, reason


def main() -> int:
    """The console script."""
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
