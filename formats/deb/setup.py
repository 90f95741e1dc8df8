"""What does a person type so that apt and dput use a repository?"""


def lines(base: str) -> list[str]:
    """What a machine's administrator types to use a repository of Debian packages, and to publish in it."""
    name = base.partition("://")[2].partition("/")[2].replace("/", "-")
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
