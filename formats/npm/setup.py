"""What does a person type, or write into which file, so that npm, pnpm and yarn use a repository?"""


def lines(base: str) -> list[str]:
    """Commands for the repository at `base`; the token stays a shell variable."""
    scheme, _, rest = base.partition("://")
    return [
        f"npm config set registry {base}/npm/",
        f"npm config set //{rest}/npm/:_authToken $ENTREPOT_TOKEN",
        "npm install PACKAGE",
        "npm publish",
        "# pnpm and yarn 1 read the same settings; yarn berry has its own, in .yarnrc.yml:",
        f"yarn config set npmRegistryServer {base}/npm",
        "yarn config set npmAuthToken $ENTREPOT_TOKEN && yarn config set npmAlwaysAuth true",
        *([f"yarn config set unsafeHttpWhitelist --json '[\"{rest.partition(':')[0]}\"]'"] if scheme == "http" else []),
    ]
