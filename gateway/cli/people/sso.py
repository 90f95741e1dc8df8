"""How is an identity provider told to a workspace at which its people sign in, from a terminal?"""

import sys
from pathlib import Path

from cyclopts import App

from gateway.cli.people import samlkeys
from gateway.cli.people.joining import Joining
from gateway.cli.terminal.client import reach
from gateway.cli.terminal.output import Output, Usage
from gateway.cli.terminal.words import AsJson, AsProfile, AtUrl, AtWorkspace, Owned, owned, when

DOCUMENT_CHARS_MAX = 256 << 10

app = App(name="sso", help="Let people sign in at an identity provider.")
app.command(samlkeys.app)
EVERYBODY = Joining()


@app.command(name="add")
def add_provider(
    provider: str,
    /,
    *,
    issuer: str,
    client_id: str,
    client_secret_file: str = "",
    who: Joining = EVERYBODY,
    scope: tuple[str, ...] = (),
    sign_out: bool = True,
    private_network: bool = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Let the managed users of a workspace sign in at an OpenID provider. Prints the address to register there.

    Parameters
    ----------
    provider
        WORKSPACE/NAME; the name is yours to choose, and people see it.
    issuer
        Its address, exactly as its tokens have it in iss.
    client_id
        What this registry is called there.
    client_secret_file
        A file with the secret that it gave, - for stdin; none for a public client.
    scope
        What to ask for beside openid; may be given several times. Else profile and email.
    sign_out
        Who signs out here is taken on to sign out there, where the issuer has a place for it.
    private_network
        The issuer is not on the public Internet. Needs admin on everything.
    """
    at = owned(provider)
    people = who.told("preferred_username") | {"client_secret": _secret(client_secret_file), "scopes": list(scope)}
    people["signs_out"] = sign_out
    body = {"name": at.name, "issuer": issuer, "audience": client_id, "private_network": private_network}
    with reach(url, profile) as node:
        made = node.post(f"/workspaces/{at.workspace}/providers", body | {"people": people})
        back = f"{node.url}{made['people']['back']}"
    out = Output(json)
    own = back.removesuffix("/return")
    more = {"post_logout_redirect_uri": f"{own}/signed-out", "backchannel_logout_uri": f"{own}/back-channel"}
    out.fact(made | {"redirect_uri": back} | more, back)
    out.note("Register this address there as the redirect URI, with the name by which people reach this node.")
    out.note(f"For signing out: {own}/signed-out as the post logout redirect URI, {own}/back-channel as the")
    out.note("back-channel logout URI; without the former, add it with --no-sign-out.")


@app.command(name="add-saml")
def add_saml_provider(
    provider: str,
    /,
    *,
    metadata: str,
    audience: str = "",
    entity_id: str = "",
    who: Joining = EVERYBODY,
    subject_attribute: str = "",
    unsolicited: bool = False,
    sign_requests: bool = False,
    accept_cbc: bool = False,
    private_network: bool = False,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Let the managed users of a workspace sign in at a SAML identity provider. Prints the address to register there.

    Parameters
    ----------
    provider
        WORKSPACE/NAME; the name is yours to choose, and people see it.
    metadata
        A file with the metadata document of the identity provider, - for stdin.
    audience
        The entityID of this registry there; else the address of its own metadata.
    entity_id
        Which identity provider is meant, where the document describes several.
    subject_attribute
        The attribute that is the same for nobody else, ever; else it is the NameID.
    unsolicited
        People may begin there, too; they are asked here whether they meant to.
    sign_requests
        Sign what it is asked, also where its metadata does not want that.
    accept_cbc
        Read what it encrypts by AES-CBC also where it does not sign the whole answer: for old ones that can do neither
        AES-GCM nor that. Whoever changes such an answer on its way has a chance to learn what is in it.
    private_network
        The identity provider may be reached by plain http. Needs admin on everything.
    """
    at = owned(provider)
    body = {
        "name": at.name,
        "metadata": _document(metadata),
        "entity_id": entity_id,
        "subject": subject_attribute,
        "unsolicited": unsolicited,
        "sign_requests": sign_requests,
        "accept_cbc": accept_cbc,
        "private_network": private_network,
        "people": who.told("NameID"),
    }
    _add_saml(at, body, audience, url, profile, Output(json))


@app.command(name="renew-saml")
def renew_saml_provider(
    provider: str,
    /,
    *,
    metadata: str,
    sign_requests: bool | None = None,
    accept_cbc: bool | None = None,
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """Take the certificates and the address of a SAML identity provider from fresh metadata; people stay who they are.

    Parameters
    ----------
    provider
        WORKSPACE/NAME.
    metadata
        A file with the metadata document of the identity provider, - for stdin.
    sign_requests
        Sign what it is asked, also where its metadata does not want that; else as before.
    accept_cbc
        As with add-saml; else as before.
    """
    at = owned(provider)
    body = {"metadata": _document(metadata), "sign_requests": sign_requests, "accept_cbc": accept_cbc}
    with reach(url, profile) as node:
        told = node.put(f"/workspaces/{at.workspace}/saml/{at.name}", body)
    Output(json).fact(told, "\n".join(one["sha256"] for one in told["saml"]["certificates"]))


@app.command(name="list")
def list_providers(
    workspace: AtWorkspace, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = ""
) -> None:
    """List the identity providers at which the people of a workspace sign in; those of builds: entrepot oidc list.

    Parameters
    ----------
    workspace
        The workspace.
    """
    with reach(url, profile) as node:
        found = [one for one in node.items(f"/workspaces/{workspace}/providers") if one.get("people")]
        rows = [
            (
                *(one["name"], "SAML" if one.get("saml") else "OpenID", one["issuer"]),
                ", ".join(one["people"]["domains"]) or "any",
                f"disabled since {when(one['disabled_ms'])}" if one["disabled_ms"] else "enabled",
                f"{node.url}{one['people']['back']}",
            )
            for one in found
        ]
    Output(json).rows({"items": found}, ("provider", "protocol", "issuer", "domains", "state", "redirect uri"), rows)


@app.command(name="disable")
def disable_provider(provider: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Let nobody in by an identity provider, at once: who signed in by it is signed out, and builds lose their tokens.

    Parameters
    ----------
    provider
        WORKSPACE/NAME.
    """
    _set_disabled(provider, True, url, profile, Output(json))


@app.command(name="enable")
def enable_provider(provider: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Let people and builds in by it again; everybody signs in anew.

    Parameters
    ----------
    provider
        WORKSPACE/NAME.
    """
    _set_disabled(provider, False, url, profile, Output(json))


def _set_disabled(provider: str, disabled: bool, url: str, profile: str, out: Output) -> None:
    at = owned(provider)
    with reach(url, profile) as node:
        told = node.patch(f"/workspaces/{at.workspace}/providers/{at.name}", {"disabled": disabled})
    out.fact(told, f"{at} is {'disabled: it lets nobody in' if disabled else 'enabled'}.")


def _add_saml(at: Owned, body: dict[str, object], audience: str, url: str, profile: str, out: Output) -> None:
    with reach(url, profile) as node:
        own = f"{node.url}/-/sign-in/saml/{at.workspace}/{at.name}/metadata"
        made = node.post(f"/workspaces/{at.workspace}/saml", body | {"audience": audience or own})
        back = f"{node.url}{made['people']['back']}"
    out.fact(made | {"acs_url": back, "metadata_url": own}, back)
    out.note(f"Register this address there as the assertion consumer service, or give it {own}.")


def _document(file: str) -> str:
    try:
        return sys.stdin.read(DOCUMENT_CHARS_MAX) if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError):
        raise Usage("The file of the metadata cannot be read.", "Check --metadata.") from None


def _secret(file: str) -> str:
    if not file:
        return ""
    try:
        text = sys.stdin.read(1 << 12) if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError):
        raise Usage("The file of the client secret cannot be read.", "Check --client-secret-file.") from None
    if not text.strip():
        raise Usage("There is no client secret in this file.", "Check --client-secret-file.")
    return text.strip()
