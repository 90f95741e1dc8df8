"""What must be looked at to answer a query? Told by the query alone, before anything is read."""

from gateway.queries.fields import DELETED, HEARD_OF, VERSION_FIELDS, Part
from gateway.queries.terms import All, Not, Some, Term, beginning_of


def wants_deleted(part: Part) -> bool:
    """Is it about what stands in the bins, and about nothing else?"""
    parts = part.parts if isinstance(part, All) else (part,)
    return any(isinstance(one, Term) and (one.field, one.text) == ("status", DELETED) for one in parts)


def fields_of(part: Part) -> set[str]:
    """The fields that it names anywhere."""
    match part:
        case Term(field):
            return {field}
        case Not(inner):
            return fields_of(inner)
        case All(parts) | Some(parts):
            return {field for one in parts for field in fields_of(one)}
    return set()


def beginning(part: Part) -> str:
    """How the name of whatever the query finds must begin, "" where that is not told: then all names are looked at."""
    if isinstance(part, Term) and part.field == "name":
        return beginning_of(part.text)
    if isinstance(part, All):
        return max((beginning(one) for one in part.parts), key=len, default="")
    return ""


def version_terms(part: Part) -> list[Term]:
    """The terms about a version that must hold for whatever the query finds."""
    parts = part.parts if isinstance(part, All) else (part,)
    return [one for one in parts if isinstance(one, Term) and one.field == "version"]


def wants_upstreams(part: Part) -> bool:
    """Can it find what is not published here? Not where a term must hold that only files, tags or counts can meet."""
    parts = part.parts if isinstance(part, All) else (part,)
    return not any(isinstance(one, Term) and one.field in VERSION_FIELDS and one.field not in HEARD_OF for one in parts)
