"""What does a person type, or write into which file, so that pip, uv, twine and poetry use a repository?"""


def lines(base: str) -> list[str]:
    """Commands for the repository at `base`; the token stays a shell variable."""
    scheme, _, rest = base.partition("://")
    inside = f"{scheme}://token:$ENTREPOT_TOKEN@{rest}"
    return [
        f"pip install --index-url {inside}/pypi/simple/ PACKAGE",
        f"uv pip install --default-index {inside}/pypi/simple/ PACKAGE",
        f"twine upload --repository-url {base}/pypi/legacy/ -u token -p $ENTREPOT_TOKEN dist/*",
        f"uv publish --publish-url {base}/pypi/legacy/ -u token -p $ENTREPOT_TOKEN dist/*",
        f"poetry source add --priority=primary entrepot {base}/pypi/simple/",
        f"poetry config repositories.entrepot {base}/pypi/legacy/",
        "poetry config http-basic.entrepot token $ENTREPOT_TOKEN && poetry publish -r entrepot",
    ]
