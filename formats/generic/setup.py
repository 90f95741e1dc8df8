"""What does a person type to use this format here?"""


def lines(base: str) -> list[str]:
    """Commands for the repository at `base`."""
    return [
        f'curl -H "Authorization: Bearer $ENTREPOT_TOKEN" -T FILE {base}/generic/PATH',
        f'curl -H "Authorization: Bearer $ENTREPOT_TOKEN" -O {base}/generic/PATH',
    ]
