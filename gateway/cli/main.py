"""What does `entrepot ...` on a command line do?

Commands are found in one file for each group, in its room, imported when they are called: `entrepot ls` does not load
a server.

Exit codes, the same for every command:
    0  done
    1  it went wrong, and the message says how
    2  the command line is wrong
    3  there is no such thing, or none that this token may know of
    4  a token is missing, no good, or not allowed this
    5  the node cannot be reached, or cannot do it now
    130  it was interrupted
"""

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from cyclopts import App, CycloptsError, Group, Parameter

from gateway.cli.terminal import profiles
from gateway.cli.terminal.client import giving_reason, having_typed
from gateway.cli.terminal.output import Output, Usage, exit_code_of
from gateway.console.calls.clock import version
from storage.errors import Problem

EXIT_INTERRUPTED = 130
COLLECT_AT = 100_000
"""New objects until garbage is looked for: what is loaded stays, and looking through it is a tenth of loading it."""

COMMANDS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "nodes": (
        ("up", "starting:up", "Start an origin and an edge on this machine."),
        ("serve", "serving:serve", "Run one node."),
        ("edge", "edges:app", "Edges: invite, list, change, revoke."),
        ("host", "hosts:app", "Host names, and what they imply."),
        ("status", "telling:status", "Show how a node is doing."),
        ("fsck", "operate:fsck", "Check what a node has stored."),
        ("sweep", "upkeep:sweep", "Give back the room of what no file names any more."),
        ("scrub", "upkeep:scrub", "Read everything that a node has stored and compare."),
        ("rebuild-index", "operate:rebuild_index", "Compute the index anew from the journal."),
        ("admin-token", "operate:admin_token", "Make a new admin token for an origin."),
    ),
    "repositories": (
        ("workspace", "workspaces:app", "Workspaces: make, list, show, edit, delete."),
        ("repo", "tenancy:repositories", "Repositories."),
        ("upstream", "upstreams:app", "Foreign registries that a repository draws from."),
        ("key", "keys:app", "Keys that a repository signs its indexes with."),
        ("quota", "quotas:app", "What workspaces and repositories hold, and may hold."),
        ("webhook", "webhooks:app", "Tell receivers outside of what happens."),
        ("network", "networks:app", "From where a repository can be used."),
        ("replication", "replication:app", "What nodes of a region hold before they are asked."),
    ),
    "packages": (
        ("quarantine", "withholding:app", "Packages that no node gives out."),
        ("purge", "withholding:purge", "Have every node get anew what it keeps of a place."),
        ("push", "pushing:push", "Publish files by the native protocol of their format."),
        ("delete", "removing:delete", "Delete packages or versions; into the bin, if any."),
        ("bin", "removing:app", "What was deleted and can come back."),
        ("restore", "removing:restore", "Bring back what was deleted, out of the bin."),
        ("copy", "copying:copy", "Copy packages or versions into another repository."),
        ("move", "copying:move", "Copy them, and take them away where they were."),
        ("tag", "copying:tags", "Tags of a package: add, move, remove, list."),
        ("ls", "listing:ls", "List the packages of a repository."),
        ("search", "searching:search", "Find packages in all repositories you may read."),
        ("warm", "warming:warm", "Have an edge fetch what a lock file or a query names."),
        ("setup", "listing:setup", "Show how to point a client at a repository."),
    ),
    "people": (
        ("token", "tokens:app", "Tokens: make, list, revoke."),
        ("user", "members:users", "Users of a node."),
        ("member", "members:members", "Who belongs to a workspace, and as what."),
        ("team", "members:teams", "Teams of a workspace."),
        ("service", "members:services", "Service accounts of a workspace."),
        ("role", "giving:roles", "Roles: sets of actions under a name."),
        ("grant", "giving:grants", "Grants: give, list, take."),
        ("access", "giving:access", "Who may do what, and why."),
        ("oidc", "oidc:app", "Let builds in by what their CI says of them, without secrets."),
        ("sso", "sso:app", "Let people sign in at an identity provider."),
        ("scim", "scim:app", "Let an identity provider keep users and teams."),
        ("entitlement", "entitlements:app", "Tokens for customers, with limits."),
    ),
    "credentials": (
        ("credential", "lending:app", "The token for other programs: docker, pip, npm."),
        ("login", "loggingin:login", "Get a token of your own for this terminal."),
        ("logout", "loggingin:logout", "Revoke the profile's token and forget it."),
        ("whoami", "loggingin:whoami", "Show as whom you speak to a node."),
    ),
    "history": (
        ("audit", "audit:app", "Who did what: list, show, export, verify."),
        ("usage", "usage:usage", "What clients were served, counted."),
        ("top", "usage:top", "Which packages, countries, clients or principals the most."),
        ("logs", "logs:app", "Requests of clients: the latest, or all of them exported."),
        ("pulls", "usage:pulls", "How often versions and tags were downloaded, when last."),
    ),
    "": (
        ("profile", "terminal.profiles:app", "Names for nodes and the tokens to use with them."),
        ("api", "describing:app", "The management API, for programs."),
        ("completion", "completing:completion", "Let a shell complete commands and options."),
    ),
}
"""Room: its commands, the function or group that each one is, and its help."""


def shown_default(value: object) -> str | None:
    """What --help says an option is without being given; nothing where that is nothing."""
    return None if value in ("", "0", 0, (), None) else str(value)


app = App(
    name="entrepot",
    default_parameter=Parameter(negative_iterable=(), show_default=shown_default),
    version=version,
    suppress_keyboard_interrupt=False,  # who interrupts is told how to go on
    help="An open artifact registry and package delivery network.",
    help_epilogue="ENTREPOT_URL and ENTREPOT_TOKEN say which node to speak to and as whom, or a profile does. "
    "--reason TEXT, with any command that changes something, is kept in the audit.\n\n"
    "Exit codes: 0 done, 1 it went wrong, 2 the command line is wrong, 3 there is no such thing, 4 the token is "
    "missing or not allowed this, 5 the node cannot be reached or cannot do it now, 130 interrupted.",
)
for room, commands in COMMANDS.items():
    group = Group.create_ordered((room or "terminal").capitalize())
    for name, where, told in commands:
        app.command(".".join(filter(None, ("gateway.cli", room, where))), name=name, help=told, group=group)


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
        with giving_reason(reason), having_typed(arguments), profiles.choosing(profile):
            code = app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return out.problem(Usage(str(error), "Add --help to see what the command takes."))
    except Problem as problem:
        return out.problem(problem)
    except BrokenPipeError:
        # whoever read our output has had enough; what is still buffered must not raise again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_code_of(Problem(""))
    except OSError as error:
        # of this machine's files: what a node or the network says is a Problem by now
        return out.problem(Problem(f"{error.filename or 'A file'}: {error.strerror or error}.", "Check the path."))
    except KeyboardInterrupt as stop:
        told = [str(one) for one in stop.args] or ["Interrupted."]
        out.problem(Problem(*told))
        return EXIT_INTERRUPTED
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
    """The console script. Who interrupts it waits for nothing that it still has under way."""
    gc.set_threshold(COLLECT_AT)
    code = run(sys.argv[1:])
    if code == EXIT_INTERRUPTED:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
