"""How are users, members, teams and service accounts managed from a terminal?"""

import sys
from pathlib import Path

from cyclopts import App

from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, AtWorkspace, owned, when

users = App(name="user", help="Users of a node.")
members = App(name="member", help="Who belongs to a workspace, and as what.")
teams = App(name="team", help="Teams of a workspace.")
services = App(name="service", help="Service accounts of a workspace.")


@users.command(name="create")
def create_user(
    name: str, /, *, email: str = "", json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """Make a user. It can do nothing before it is a member somewhere. Needs admin on everything.

    Parameters
    ----------
    name
        What it is called: 1 to 63 of a-z, 0-9, '.', '_' and '-'.
    email
        Where its person can be reached; the node sends nothing.
    """
    with reach(url, profile) as node:
        made = node.post("/users", {"name": name, "email": email})
    Output(json).fact(made, f"User {name} is made.")


@users.command(name="list")
def list_users(*, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List the users of a node."""
    with reach(url, profile) as node:
        found = list(node.items("/users"))
    Output(json).rows({"items": found}, ("user", "id"), [(one["name"], one["id"]) for one in found])


@users.command(name="close")
def close_user(name: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Close a user for good, with all its tokens.

    Parameters
    ----------
    name
        The name of the user.
    """
    with reach(url, profile) as node:
        node.delete(f"/users/{name}")
    Output(json).fact({"closed": name}, f"User {name} is closed.")


@users.command(name="password-link")
def make_password_link(name: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Make a link with which a user sets a password, once, within a day. Hand it over by means that you trust: the node
    sends no mail.

    Parameters
    ----------
    name
        The name of the user.
    """
    with reach(url, profile) as node:
        made = node.post(f"/users/{name}/password-link", {})
    Output(json).fact(made, made["link"])


@users.command(name="sign-out")
def sign_out_user(name: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """End all sessions of a user; its tokens go on.

    Parameters
    ----------
    name
        The name of the user.
    """
    with reach(url, profile) as node:
        node.delete(f"/users/{name}/sessions")
    Output(json).fact({"signed_out": name}, f"User {name} is signed out everywhere.")


@users.command(name="forget-device")
def forget_device(name: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Ask a user for one-time codes no more, until another device is set up, and sign the user out everywhere.

    Parameters
    ----------
    name
        The name of the user.
    """
    with reach(url, profile) as node:
        node.delete(f"/users/{name}/device")
    Output(json).fact({"forgotten": name}, f"User {name} is asked for no one-time codes.")


@users.command(name="reset-factors")
def reset_factors(name: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Take one-time codes, passkeys and recovery codes away from a user who has lost them, and sign the user out
    everywhere. The password is enough then, until something is set up anew.

    Parameters
    ----------
    name
        The name of the user.
    """
    with reach(url, profile) as node:
        node.delete(f"/users/{name}/second-factors")
    out = Output(json)
    out.fact({"reset": name}, f"User {name} signs in with the password alone.")
    out.note(
        f"Where that may be known, too: entrepot user password-link {name}. Its tokens go on: entrepot token list."
    )


@users.command(name="passkeys")
def list_passkeys(name: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Show the passkeys of a user: your own, or anybody's where you are an administrator.

    Parameters
    ----------
    name
        The name of the user.
    """
    with reach(url, profile) as node:
        found = list(node.items(f"/users/{name}/passkeys"))
    rows = [(one["id"], one["name"], when(one["created_ms"]), when(one["used_ms"], never="never")) for one in found]
    Output(json).rows({"items": found}, ("id", "name", "since", "last used"), rows)


@users.command(name="remove-passkey")
def remove_passkey(name: str, id: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Take a passkey away from a user, as `user passkeys` shows it, and sign the user out everywhere.

    Parameters
    ----------
    name
        The name of the user.
    id
        As user passkeys shows it.
    """
    with reach(url, profile) as node:
        node.delete(f"/users/{name}/passkeys/{id}")
    Output(json).fact({"removed": id}, f"Passkey {id} of user {name} is removed.")


@users.command(name="recovery-codes")
def make_recovery_codes(
    name: str, /, *, password_file: str = "", json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """Make new recovery codes for a user who has passkeys or one-time codes; those of before are over.

    Parameters
    ----------
    name
        The user: you, or anybody where you are an administrator.
    password_file
        Where your own password is, - for stdin; an administrator leaves it out.
    """
    password = secret_in(password_file)
    with reach(url, profile) as node:
        made = node.post(f"/users/{name}/recovery-codes", {"password": password})
    out = Output(json)
    out.fact(made, "\n".join(made["codes"]))
    out.note("Each is good once, beside the password. They are shown this once; the user is signed out everywhere.")


@users.command(name="sessions")
def list_sessions(name: str = "", /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Show where a user is signed in; without a name, where you are, or everybody is where you are an administrator.

    Parameters
    ----------
    name
        The name of the user.
    """
    with reach(url, profile) as node:
        found = list(node.items("/sessions", user=name))
    rows = [(one["id"], one["user"], one["method"], one["agent"], one["state"]) for one in found]
    Output(json).rows({"items": found}, ("id", "user", "by", "in", "state"), rows)


@users.command(name="end-session")
def end_session(id: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """End one session, as `user sessions` shows it.

    Parameters
    ----------
    id
        As user sessions shows it.
    """
    with reach(url, profile) as node:
        node.delete(f"/sessions/{id}")
    Output(json).fact({"ended": id}, f"Session {id} is ended.")


@members.command(name="add")
def add_member(
    workspace: AtWorkspace,
    member: str,
    /,
    *,
    role: str = "member",
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Make somebody a member, or give a member another role.

    Parameters
    ----------
    workspace
        The workspace.
    member
        user:NAME, or service:NAME.
    role
        owner, manager, member, or collaborator, who has only what it is given itself.
    """
    with reach(url, profile) as node:
        made = node.put(f"/workspaces/{workspace}/members/{member}", {"role": role})
    Output(json).fact(made, f"{member} is {role} of {workspace}.")


@members.command(name="list")
def list_members(workspace: AtWorkspace, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List the members of a workspace.

    Parameters
    ----------
    workspace
        The workspace.
    """
    with reach(url, profile) as node:
        found = list(node.items(f"/workspaces/{workspace}/members"))
    rows = [(one["member"], one["role"], ", ".join(one["teams"])) for one in found]
    Output(json).rows({"items": found}, ("member", "role", "teams"), rows)


@members.command(name="remove")
def remove_member(
    workspace: AtWorkspace, member: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """End a membership: its teams, its grants, and what its tokens could do there end with it, everywhere.

    Parameters
    ----------
    workspace
        The workspace.
    member
        user:NAME, service:NAME or managed:NAME.
    """
    with reach(url, profile) as node:
        node.delete(f"/workspaces/{workspace}/members/{member}")
    Output(json).fact({"removed": member}, f"{member} is no member of {workspace} any more.")


@members.command(name="sign-out")
def sign_member_out(
    workspace: AtWorkspace, member: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """End all sessions of a managed user; its tokens go on. Those of a user of the node: entrepot user sign-out.

    Parameters
    ----------
    workspace
        The workspace.
    member
        managed:NAME.
    """
    with reach(url, profile) as node:
        node.delete(f"/workspaces/{workspace}/members/{member}/sessions")
    Output(json).fact({"signed_out": member}, f"{member} is signed out everywhere.")


@teams.command(name="create")
def create_team(
    team: str, /, *, hidden: bool = False, json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """Make a team. TEAM is WORKSPACE/NAME.

    Parameters
    ----------
    team
        WORKSPACE/NAME.
    hidden
        Shown to its members and to who manages people alone.
    """
    at = owned(team)
    with reach(url, profile) as node:
        made = node.post(f"/workspaces/{at.workspace}/teams", {"name": at.name, "hidden": hidden})
    Output(json).fact(made, f"Team {at} is made.")


@teams.command(name="list")
def list_teams(workspace: AtWorkspace, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List the teams of a workspace with who is in them.

    Parameters
    ----------
    workspace
        The workspace.
    """
    with reach(url, profile) as node:
        found = list(node.items(f"/workspaces/{workspace}/teams"))
    rows = [(one["name"], ", ".join(mate["member"] for mate in one["members"])) for one in found]
    Output(json).rows({"items": found}, ("team", "members"), rows)


@teams.command(name="show")
def show_team(team: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Show who is in a team, and as what. TEAM is WORKSPACE/NAME.

    Parameters
    ----------
    team
        WORKSPACE/NAME.
    """
    at = owned(team)
    with reach(url, profile) as node:
        found = node.get(f"/workspaces/{at.workspace}/teams/{at.name}")
    Output(json).rows(found, ("member", "role"), [(mate["member"], mate["role"]) for mate in found["members"]])


@teams.command(name="drop")
def drop_team(team: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Drop a team with what it was given. TEAM is WORKSPACE/NAME.

    Parameters
    ----------
    team
        WORKSPACE/NAME.
    """
    at = owned(team)
    with reach(url, profile) as node:
        node.delete(f"/workspaces/{at.workspace}/teams/{at.name}")
    Output(json).fact({"dropped": str(at)}, f"Team {at} is dropped.")


@teams.command(name="add")
def add_to_team(
    team: str, member: str, /, *, role: str = "member", json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """Put a member (user:NAME or service:NAME) into a team. TEAM is WORKSPACE/NAME.

    Parameters
    ----------
    team
        WORKSPACE/NAME.
    member
        user:NAME or service:NAME.
    role
        member, or manager, who may put others into it.
    """
    at = owned(team)
    with reach(url, profile) as node:
        made = node.put(f"/workspaces/{at.workspace}/teams/{at.name}/members/{member}", {"role": role})
    Output(json).fact(made, f"{member} is in the team {at}.")


@teams.command(name="remove")
def remove_from_team(
    team: str, member: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """Take a member out of a team. TEAM is WORKSPACE/NAME.

    Parameters
    ----------
    team
        WORKSPACE/NAME.
    member
        user:NAME or service:NAME.
    """
    at = owned(team)
    with reach(url, profile) as node:
        node.delete(f"/workspaces/{at.workspace}/teams/{at.name}/members/{member}")
    Output(json).fact({"removed": member}, f"{member} is in the team {at} no more.")


@services.command(name="create")
def create_service(
    service: str, /, *, role: str = "member", json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """Make a service account. SERVICE is WORKSPACE/NAME. Its tokens: entrepot token create --owner service:SERVICE.

    Parameters
    ----------
    service
        WORKSPACE/NAME.
    role
        owner, manager, member, or collaborator, who has only what it is given itself.
    """
    at = owned(service)
    with reach(url, profile) as node:
        made = node.post(f"/workspaces/{at.workspace}/services", {"name": at.name, "role": role})
    Output(json).fact(made, f"Service account {at} is made.")


@services.command(name="list")
def list_services(workspace: AtWorkspace, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """List the service accounts of a workspace.

    Parameters
    ----------
    workspace
        The workspace.
    """
    with reach(url, profile) as node:
        found = list(node.items(f"/workspaces/{workspace}/services"))
    Output(json).rows({"items": found}, ("service", "id"), [(one["name"], one["id"]) for one in found])


@services.command(name="close")
def close_service(service: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Close a service account for good, with all its tokens. SERVICE is WORKSPACE/NAME.

    Parameters
    ----------
    service
        WORKSPACE/NAME.
    """
    at = owned(service)
    with reach(url, profile) as node:
        node.delete(f"/workspaces/{at.workspace}/services/{at.name}")
    Output(json).fact({"closed": str(at)}, f"Service account {at} is closed.")


def secret_in(file: str) -> str:
    """A password from a file, "" for none. Raises Usage."""
    try:
        text = "" if not file else sys.stdin.read(1 << 12) if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError):
        raise Usage("The file of the password cannot be read.", "Check --password-file.") from None
    return text.rstrip("\r\n")
