"""How are roles and grants given, taken and explained from a terminal?"""

from typing import Any

from cyclopts import App

from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, AtWorkspace, owned, place

roles = App(name="role", help="Roles: sets of actions under a name, to be given in a workspace.")
grants = App(name="grant", help="Grants: give, list, take.")
access = App(name="access", help="Who may do what, and why.")


@roles.command(name="put")
def put_role(role: str, /, *actions: str, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Make a role, or give it other actions. ROLE is WORKSPACE/NAME.

    Parameters
    ----------
    role
        WORKSPACE/NAME.
    actions
        read, publish, tag, delete, manage, grant, entitle, statistics, audit, create,
        people, own.
    """
    at = owned(role)
    if not actions:
        raise Usage("It is not said what the role may do.", "Name at least one action: read, publish ...")
    with reach(url, profile) as node:
        made = node.put(f"/workspaces/{at.workspace}/roles/{at.name}", {"actions": list(actions)})
    Output(json).fact(made, f"Role {at} may {', '.join(made['actions'])}.")


@roles.command(name="list")
def list_roles(workspace: AtWorkspace, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List the roles of a workspace.

    Parameters
    ----------
    workspace
        The workspace.
    """
    with reach(url, profile) as node:
        found = list(node.items(f"/workspaces/{workspace}/roles"))
    Output(json).rows(
        {"items": found}, ("role", "actions"), [(one["name"], ", ".join(one["actions"])) for one in found]
    )


@roles.command(name="drop")
def drop_role(role: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Drop a role: grants that name it give nothing by it any more. ROLE is WORKSPACE/NAME.

    Parameters
    ----------
    role
        WORKSPACE/NAME.
    """
    at = owned(role)
    with reach(url, profile) as node:
        node.delete(f"/workspaces/{at.workspace}/roles/{at.name}")
    Output(json).fact({"dropped": str(at)}, f"Role {at} is dropped.")


@grants.command(name="give")
def give(
    scope: str,
    subject: str,
    /,
    *,
    read: bool = False,
    write: bool = False,
    admin: bool = False,
    action: tuple[str, ...] = (),
    role: str = "",
    format: tuple[str, ...] = (),
    package: tuple[str, ...] = (),
    tag: tuple[str, ...] = (),
    deny: bool = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Give a right, or with --deny take it away from whoever has it otherwise. A denial goes before everything.

    Parameters
    ----------
    scope
        WORKSPACE, or WORKSPACE/REPOSITORY.
    subject
        user:NAME, service:NAME, team:NAME, or members.
    read
        It may read.
    write
        It may publish, tag and delete.
    admin
        It may do everything there.
    action
        A single action of those that role put names; may be given several times.
    role
        A role of the workspace.
    format
        Only of this format: deb, generic, maven, npm, oci, pypi; may be given several times.
    package
        Only packages whose name fits, as in 'web-*'; needs --format.
    tag
        Only the setting of tags whose name fits, as in 'dev-*'.
    deny
        Take away instead.
    """
    body = {
        "subject": subject,
        "scope": scope,
        "read": read,
        "write": write,
        "admin": admin,
        "actions": list(action),
        "role": role,
        "formats": list(format),
        "packages": list(package),
        "tags": list(tag),
        "deny": deny,
    }
    with reach(url, profile) as node:
        made = node.post(f"/workspaces/{scope.partition('/')[0]}/grants", body)
    Output(json).fact(made, f"{made['id']}: {_said(made)}")


@grants.command(name="list")
def list_grants(
    scope: str, /, *, subject: str = "", json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """List what was given in a workspace, or what of it holds in one repository.

    Parameters
    ----------
    scope
        WORKSPACE, or WORKSPACE/REPOSITORY.
    subject
        To this one alone: user:NAME, service:NAME, team:NAME, or members.
    """
    workspace, repository = place(scope) if "/" in scope else (scope, "")
    with reach(url, profile) as node:
        found = list(node.items(f"/workspaces/{workspace}/grants", subject=subject, repository=repository))
    rows = [(one["id"], one["subject"], _said(one)) for one in found]
    Output(json).rows({"items": found}, ("grant", "subject", "says"), rows)


@grants.command(name="take")
def take(workspace: AtWorkspace, id: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Take a grant away, at once and everywhere.

    Parameters
    ----------
    workspace
        The workspace.
    id
        As grant list shows it.
    """
    with reach(url, profile) as node:
        node.delete(f"/workspaces/{workspace}/grants/{id}")
    Output(json).fact({"taken": id}, f"Grant {id} is taken away.")


@access.command(name="explain")
def explain(
    principal: str,
    action: str,
    place: str,
    /,
    *,
    format: str = "",
    package: str = "",
    version: str = "",
    tag: str = "",
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """May somebody do something, and which grant says so? You may always ask of yourself.

    Parameters
    ----------
    principal
        user:NAME, service:NAME, or entitlement:ID.
    action
        read, publish, tag, delete, manage, grant, entitle, statistics, audit, create,
        people, own.
    place
        WORKSPACE, or WORKSPACE/REPOSITORY.
    format
        The format of the package.
    package
        With a package of this name; without, with any of the place.
    version
        With a file of this version of it.
    tag
        For the action tag: to set this one.
    """
    if place.count("/") > 1:
        raise Usage(
            f'"{place}" is no place of that kind.', "Name WORKSPACE/REPOSITORY, and --format and --package beside it."
        )
    workspace, _, repository = place.partition("/")
    asked = {"principal": principal, "action": action, "repository": repository, "format": format}
    with reach(url, profile) as node:
        told = node.get(f"/workspaces/{workspace}/explain", **asked, package=package, tag=tag, version=version)
    may = "may" if told["allowed"] else "may not"
    parts = ", but may to some packages" if told["parts_only"] else ""
    said = f" ({told['query_part']})" if told.get("query_part") else ""
    Output(json).fact(told, f"{principal} {may} {action} in {place}: {told['why']}{said}{parts}.")


def _said(one: Any) -> str:
    rights = [right for right in ("read", "write", "admin") if one[right]] + one.get("actions", [])
    if one.get("role"):
        rights.append(f"role {one['role']}")
    said = f"{'not ' if one.get('deny') else ''}{'+'.join(rights)} in {one['scope']}"
    for word in ("formats", "packages", "tags"):
        if one.get(word):
            said += f", {word} {' '.join(one[word])}"
    return said
