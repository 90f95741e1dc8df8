"""What does `entrepot-keyring` answer pip, uv, twine and poetry, which ask a program called keyring?

Both ask `keyring get SERVICE USER`, or with `--mode creds` for the user as well. As `keyring` on the PATH (a link that
`entrepot credential setup pip` makes) it is what `--keyring-provider subprocess` finds. SERVICE is an address, or the
host alone. Where it knows nothing it says nothing, and the exit code is 1.
"""

import json
import sys

from gateway.cli.credentials.lending import USER, token_for
from gateway.cli.terminal.output import Usage
from storage.errors import Problem


def answer(arguments: list[str]) -> tuple[int, str]:
    """Exit code, and what goes to stdout. Raises Problem."""
    words = [one for one in arguments if not one.startswith("-")]
    creds = any(one in ("--mode=creds", "creds") for one in arguments)
    as_json = any(one in ("--output=json", "json") for one in arguments)
    words = [one for one in words if one not in ("creds", "password", "json", "plain")]
    if len(words) < 2 or words[0] != "get":
        raise Usage("Only get is known here.", "The token is kept by entrepot: entrepot profile set.")
    user = words[2] if len(words) > 2 else ""
    token = token_for(words[1]) if user in ("", USER) else ""
    if not token:
        return 1, ""
    if as_json:
        return 0, json.dumps({"username": USER, "password": token} if creds else {"password": token})
    return 0, f"{USER}\n{token}" if creds else token


def main() -> int:
    """The console script."""
    try:
        code, told = answer(sys.argv[1:])
    except Problem as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    sys.stdout.write(told + "\n" if told else "")
    return code


if __name__ == "__main__":
    sys.exit(main())
