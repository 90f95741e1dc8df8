"""What does a repository hold, and how is a client pointed at it?"""

import datetime
from contextlib import suppress

from gateway.cli.client import reach
from gateway.cli.output import Output, Usage
from gateway.cli.words import AsJson, AsProfile, AtUrl, place
from storage.errors import Forbidden, Unauthenticated, Unavailable

SETUPS = ("pypi", "npm", "oci", "deb", "maven", "generic")


def ls(
    repository: str,
    package: str = "",
    /,
    *,
    format: str = "",
    json: AsJson = False,
    url: AtUrl = "",
    profile: AsProfile = "",
) -> None:
    """List the packages of a repository, or the files of one package.

    Parameters
    ----------
    repository
        WORKSPACE/REPOSITORY.
    package
        Show the files of this one.
    format
        pypi, npm, generic, ...; all that the node has without.
    """
    at = place(repository)
    if package and not format:
        raise Usage("A package has a name in one format.", "Add --format.")
    with reach(url, profile) as node:
        if package:
            found = node.get(f"/repositories/{at}/packages/{package}", format=format)
            rows = [(one["name"], one["version"], one["size_bytes"], one["sha256"]) for one in found["files"]]
            Output(json).rows(found, ("file", "version", "bytes", "sha256"), rows)
            return
        formats = [format] if format else node.get(f"/repositories/{at}")["formats"]
        packages = [
            {"format": one} | item for one in formats for item in node.items(f"/repositories/{at}/packages", format=one)
        ]
    listed = [(one["format"], one["name"], _when(one["updated_ms"])) for one in packages]
    Output(json).rows({"items": packages}, ("format", "package", "updated"), listed)


def setup(format: str, repository: str, /, *, json: AsJson = False, url: AtUrl = "", profile: AsProfile = "") -> None:
    """Show what to type, or to write into which file, so that a client uses a repository.

    Parameters
    ----------
    format
        pypi, npm, oci, deb, maven or generic.
    repository
        WORKSPACE/REPOSITORY.
    """
    at = place(repository)
    with reach(url, profile) as node:
        told = lines(format, f"{node.url}/{at}")
        with suppress(Unauthenticated, Forbidden, Unavailable):  # the lines are good whoever asks, and for later too
            node.get(f"/repositories/{at}")
    Output(json).fact({"format": format, "lines": told}, "\n".join(told))


def lines(format: str, base: str) -> list[str]:
    """The client's own commands and settings for the repository at `base`; the token stays a shell variable."""
    scheme, _, rest = base.partition("://")
    plain = scheme == "http"
    inside = f"{scheme}://token:$ENTREPOT_TOKEN@{rest}"
    if format == "pypi":
        return [
            f"pip install --index-url {inside}/pypi/simple/ PACKAGE",
            f"uv pip install --default-index {inside}/pypi/simple/ PACKAGE",
            f"twine upload --repository-url {base}/pypi/legacy/ -u token -p $ENTREPOT_TOKEN dist/*",
            f"uv publish --publish-url {base}/pypi/legacy/ -u token -p $ENTREPOT_TOKEN dist/*",
            f"poetry source add --priority=primary entrepot {base}/pypi/simple/",
            f"poetry config repositories.entrepot {base}/pypi/legacy/",
            "poetry config http-basic.entrepot token $ENTREPOT_TOKEN && poetry publish -r entrepot",
        ]
    if format == "npm":
        return [
            f"npm config set registry {base}/npm/",
            f"npm config set //{rest}/npm/:_authToken $ENTREPOT_TOKEN",
            "npm install PACKAGE",
            "npm publish",
            "# pnpm and yarn 1 read the same settings; yarn berry has its own, in .yarnrc.yml:",
            f"yarn config set npmRegistryServer {base}/npm",
            "yarn config set npmAuthToken $ENTREPOT_TOKEN && yarn config set npmAlwaysAuth true",
            *([f"yarn config set unsafeHttpWhitelist --json '[\"{rest.partition(':')[0]}\"]'"] if plain else []),
        ]
    if format == "oci":
        return _oci(scheme, rest)
    if format == "deb":
        return apt_lines(base, rest.partition("/")[2].replace("/", "-"))
    if format == "maven":
        return _maven(base)
    if format == "generic":
        return [
            f'curl -H "Authorization: Bearer $ENTREPOT_TOKEN" -T FILE {base}/generic/PATH',
            f'curl -H "Authorization: Bearer $ENTREPOT_TOKEN" -O {base}/generic/PATH',
        ]
    raise Usage(f'There is no format "{format}".', f"One of {', '.join(SETUPS)}.")


def _maven(base: str) -> list[str]:
    """For mvn, Gradle and sbt. Gradle and sbt want a word of consent over plain HTTP."""
    url, host = f"{base}/maven/", base.partition("://")[2].partition("/")[0].partition(":")[0]
    plain = base.startswith("http://")
    consent, allowed = ("; allowInsecureProtocol = true", ".withAllowInsecureProtocol(true)") if plain else ("", "")
    return [
        "# mvn: ~/.m2/settings.xml, within <settings>",
        "<servers><server><id>entrepot</id><username>token</username><password>${env.ENTREPOT_TOKEN}</password>"
        "</server></servers>",
        f"<mirrors><mirror><id>entrepot</id><mirrorOf>*</mirrorOf><url>{url}</url></mirror></mirrors>",
        f"mvn deploy -DaltDeploymentRepository=entrepot::default::{url}",
        "# Gradle: build.gradle, within repositories { } and within publishing { repositories { } }",
        f"maven {{ url = '{url}'{consent}; credentials {{ username = 'token'; "
        "password = System.getenv('ENTREPOT_TOKEN') } }",
        "# sbt: build.sbt",
        f'resolvers += ("entrepot" at "{url}"){allowed}',
        f'publishTo := Some(("entrepot" at "{url}"){allowed})',
        f'credentials += Credentials("Entrepot", "{host}", "token", sys.env("ENTREPOT_TOKEN"))',
    ]


def _oci(scheme: str, rest: str) -> list[str]:
    """For the clients of images. Over plain HTTP each wants its own word of consent."""
    host, _, repository = rest.partition("/")
    image, image_by_digest = f"{rest}/NAME:TAG", f"{rest}/NAME@DIGEST"
    plain = scheme == "http"
    verify, insecure, clear = (" --tls-verify=false", " --insecure", " --plain-http") if plain else ("", "", "")
    cosign = " --allow-http-registry" if plain else ""
    local = host.partition(":")[0] in ("127.0.0.1", "localhost")
    daemon = [f'# /etc/docker/daemon.json: {{"insecure-registries": ["{host}"]}}'] if plain and not local else []
    piped = "echo $ENTREPOT_TOKEN |"
    return [
        *daemon,
        f"{piped} docker login {host} -u token --password-stdin",
        f"docker push {image}",
        f"docker pull {image}",
        f"{piped} podman login{verify} {host} -u token --password-stdin",
        f"podman push{verify} {image}",
        f"podman pull{verify} {image}",
        f"{piped} buildah login{verify} {host} -u token --password-stdin",
        f"buildah push{verify} IMAGE docker://{image}",
        f"{piped} skopeo login{verify} {host} -u token --password-stdin",
        f"skopeo copy{verify.replace('--', '--dest-')} oci:DIRECTORY:TAG docker://{image}",
        f"crane{insecure} auth login {host} -u token -p $ENTREPOT_TOKEN",
        f"crane{insecure} push IMAGE.tar {image}",
        f"crane{insecure} ls {host}/{repository}/NAME",
        f"{piped} oras login{clear} {host} -u token --password-stdin",
        f"oras push{clear} {image} FILE",
        f"{piped} cosign login {host} -u token --password-stdin",
        "# with a pair of keys and no word to a public transparency log",
        f"cosign sign --key cosign.key --tlog-upload=false --use-signing-config=false{cosign} {image_by_digest}",
        f"cosign verify --key cosign.pub --insecure-ignore-tlog=true{cosign} {image_by_digest}",
    ]


def apt_lines(base: str, name: str) -> list[str]:
    """What a machine's administrator types to use a repository of Debian packages, and to publish in it."""
    ring, auth = f"/etc/apt/keyrings/{name}.asc", f"/etc/apt/auth.conf.d/{name}.conf"
    return [
        "# as root; without the first two lines and -u where the repository is public",
        f"printf 'machine %s login token password %s\\n' {base}/deb/ $ENTREPOT_TOKEN > {auth}",
        f"chmod 600 {auth}",
        f"mkdir -p /etc/apt/keyrings && curl -f -u token:$ENTREPOT_TOKEN -o {ring} {base}/deb/key.asc",
        f"echo 'deb [signed-by={ring}] {base}/deb DISTRIBUTION COMPONENT' > /etc/apt/sources.list.d/{name}.list",
        "apt-get update && apt-get install PACKAGE",
        "# publish",
        f"curl -f -u token:$ENTREPOT_TOKEN -T PACKAGE.deb {base}/deb/upload/DISTRIBUTION/COMPONENT/",
        "# dput, in ~/.dput.cf; then: dput entrepot PACKAGE.changes",
        *_dput(base),
    ]


def _dput(base: str) -> list[str]:
    scheme, _, rest = base.partition("://")
    host, _, path = rest.partition("/")
    return [
        "[entrepot]",
        f"method = {scheme}",
        f"fqdn = {host}",
        f"incoming = /t/TOKEN/{path}/deb/incoming/",
        "allow_unsigned_uploads = 1",
    ]


def _when(at_ms: int) -> str:
    if not at_ms:
        return ""
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
