"""Is a client sent to its own region, to somebody who is well, and with nothing that is secret? THREATS C11."""

from ipaddress import ip_network
from pathlib import Path
from typing import cast

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from gateway.access.rights.geography import Geography
from gateway.config import Regions
from gateway.front.nearest import Nearest
from storage.index.catalog import Catalog
from storage.nouns import Host


def geo_file(folder: Path) -> Path:
    """A small database of ours: two networks in Germany, one in Canada, one of no country in Asia."""
    writer = MMDBWriter(6, "Test-Country", ipv4_compatible=True)
    europe, america = {"code": "EU"}, {"code": "NA"}
    writer.insert_network(
        IPSet(["203.0.113.0/24", "2001:db8:49::/48"]), {"country": {"iso_code": "DE"}, "continent": europe}
    )
    writer.insert_network(IPSet(["198.51.100.0/24"]), {"country": {"iso_code": "CA"}, "continent": america})
    writer.insert_network(IPSet(["192.0.2.0/25"]), {"continent": {"code": "AS"}})
    writer.insert_network(IPSet(["192.0.2.128/25"]), {"country": "odd", "continent": 7})
    path = folder / "geo.mmdb"
    writer.to_db_file(str(path))
    return path


def test_networks_go_before_the_file_and_the_file_before_the_default(tmp_path: Path) -> None:
    networks = (
        ("10.0.0.0/8", "inside"),
        ("10.7.0.0/16", "asia"),
        ("203.0.113.8/29", "inside"),
        ("2001:db8::/32", "lab"),
    )
    places = (("DE", "eu"), ("NA", "us"), ("AS", "asia"))
    known = Geography(Regions(networks, str(geo_file(tmp_path)), places, "us-east"))
    for peer, region in (
        ("10.1.1.1", "inside"),
        ("10.7.1.1", "asia"),
        ("203.0.113.1", "eu"),
        ("203.0.113.9", "inside"),
        ("198.51.100.1", "us"),
        ("192.0.2.1", "asia"),
        ("192.0.2.200", "us-east"),
        ("8.8.8.8", "us-east"),
        ("2001:db8:49::1", "lab"),
        ("fe80::1%eth0", "us-east"),
        ("", "us-east"),
    ):
        assert known.region_of(peer) == region, peer
    assert Geography(Regions((), str(geo_file(tmp_path)), places)).region_of("2001:db8:49::1") == "eu"
    assert Geography(Regions()).region_of("10.1.1.1") == ""


def test_what_cannot_be_used_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="host bits"):
        Geography(Regions((("10.0.0.1/8", "x"),)))
    (tmp_path / "bad.mmdb").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no geo-IP file"):
        Geography(Regions(geo=str(tmp_path / "bad.mmdb")))
    with pytest.raises(OSError, match="No such file"):
        Geography(Regions(geo=str(tmp_path / "none.mmdb")))
    assert ip_network("10.0.0.0/8").version == 4


def test_only_who_is_well_and_implies_the_same_is_chosen() -> None:
    hosts = [
        Host("eu.example", "", "eu"),
        Host("eu2.example", "", "eu", url="http://eu2.example:81"),
        Host("us.example", "", "us"),
        Host("eu.acme.example", "acme", "eu"),
        Host("pkgs.example", redirects=True),
    ]
    nearest = Nearest(cast("Catalog", None), Geography(Regions()))
    assert nearest.choose("eu", hosts, "") is None
    nearest._take({one.name: True for one in hosts})
    assert nearest.choose("eu", hosts, "") == "https://eu.example"
    assert nearest.choose("eu", hosts, "acme") == "https://eu.acme.example"
    assert nearest.choose("eu", hosts, "acme/main") is None
    nearest._take({"eu2.example": True, "us.example": True, "eu.example": False})
    assert nearest.choose("eu", hosts, "") == "http://eu2.example:81"
    assert nearest.choose("mars", hosts, "") == "http://eu2.example:81"
    nearest._take({"us.example": True})
    assert nearest.choose("eu", hosts, "") == "https://us.example"
