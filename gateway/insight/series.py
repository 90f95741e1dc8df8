"""How is a metric written for Prometheus? With its help and kind ahead of it, and labels that cannot break out."""

from collections.abc import Iterable, Iterator, Mapping

Labels = Mapping[str, str]


def written(name: str, kind: str, told: str, values: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    """Text (version 0.0.4) of the metric entrepot_`name`; `kind` is counter or gauge, `told` one line of help."""
    yield from headed(name, kind, told)
    for labels, value in values:
        yield f"entrepot_{name}{labelled(labels)} {value}\n"


def headed(name: str, kind: str, told: str) -> Iterator[str]:
    """The two lines ahead of a metric."""
    yield f"# HELP entrepot_{name} {told}\n"
    yield f"# TYPE entrepot_{name} {kind}\n"


def labelled(labels: Labels) -> str:
    """{name="value",...}, or nothing."""
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
