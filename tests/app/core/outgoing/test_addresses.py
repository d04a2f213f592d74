from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network

import pytest

from app.core.outgoing.addresses import embedded_ipv4, is_global, is_metadata
from app.core.outgoing.policy import OutgoingPolicy

REFUSED = """
    0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.254 100.100.100.200 127.0.0.1 127.255.255.254
    168.63.129.16 169.254.0.1 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.9 192.0.0.192
    192.0.2.1 192.31.196.1 192.52.193.1 192.88.99.1 192.168.0.1 192.168.255.255 192.175.48.1 198.18.0.1 198.19.255.255
    198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    :: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:8.8.8.8 ::ffff:0:127.0.0.1
    64:ff9b::7f00:1 64:ff9b::10.0.0.1 64:ff9b::8.8.8.8 64:ff9b:1::10.0.0.1 100::1 100:0:0:1::1
    2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:1::1 2001:10::1 2001:20::1 2001:db8::1
    2002:7f00:1:: 2002:a00:1::1 2002:808:808::1 2620:4f:8000::1 3ffe::1 3fff::1 4000::1 5f00::1
    2606:4700::5efe:10.0.0.1 2606:4700::200:5efe:127.0.0.1
    fc00::1 fd00:ec2::254 fd12:3456::1 fe80::1 fe80::1%eth0 2606:4700::1111%eth0 febf::1 fec0::1 ff02::1 ff0e::1
""".split()
TAKEN = """
    1.1.1.1 8.8.8.8 93.184.216.34 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 172.15.255.255 172.32.0.1
    192.0.1.1 192.167.255.255 198.17.255.255 198.20.0.0 223.255.255.255
    2001:200::1 2001:4860:4860::8888 2606:4700:4700::1111 2a00:1450:4001:81b::200e 2606:4700::5efe:8.8.8.8
""".split()


@pytest.mark.parametrize("text", REFUSED)
def test_special_addresses_are_not_global(text):
    assert not is_global(ip_address(text))


@pytest.mark.parametrize("text", TAKEN)
def test_public_addresses_are_global(text):
    assert is_global(ip_address(text))


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::10.1.2.3", "10.1.2.3"),
        ("::ffff:0:10.1.2.3", "10.1.2.3"),
        ("64:ff9b::10.1.2.3", "10.1.2.3"),
        ("64:ff9b:1:2:3::10.1.2.3", "10.1.2.3"),
        ("2002:a01:203::", "10.1.2.3"),
        ("2001:0:a01:203::f5fe:fdfc", "10.1.2.3"),
        ("fe80::5efe:10.1.2.3", "10.1.2.3"),
        ("2606:4700::200:5efe:10.1.2.3", "10.1.2.3"),
    ],
)
def test_addresses_inside_others_are_found(text, inside):
    assert set(embedded_ipv4(IPv6Address(text))) == {ip_address(inside)}


def test_plain_addresses_hold_no_other():
    assert embedded_ipv4(ip_address("10.0.0.1")) == embedded_ipv4(ip_address("2606:4700::1111")) == ()


@pytest.mark.parametrize(
    "text", "169.254.169.254 fe80::1 168.63.129.16 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe".split()
)
def test_no_trust_opens_the_metadata_service(text):
    everything = tuple(map(ip_network, ("0.0.0.0/0", "::/0")))
    policy = OutgoingPolicy("public", hosts=("inner.example",), trusted_networks=everything)
    assert is_metadata(ip_address(text)) and not policy.permits(ip_address(text), "inner.example")
    assert policy.permits(ip_address("10.0.0.1"), "inner.example")
    assert policy.permits(ip_address("64:ff9b::8.8.8.8"), "inner.example")


def test_trusted_networks_serve_listed_hosts_only():
    policy = OutgoingPolicy("public", hosts=("inner.example",), trusted_networks=(ip_network("10.0.0.0/8"),))
    inner = ip_address("10.0.0.1")
    assert policy.permits(inner, "inner.example")
    assert not policy.permits(inner, "stranger.example")
    assert not policy.permits(ip_address("192.168.0.1"), "inner.example")


def test_an_address_inside_a_trusted_one_is_checked():
    policy = OutgoingPolicy("public", hosts=("inner.example",), trusted_networks=(ip_network("64:ff9b::/96"),))
    assert policy.permits(ip_address("64:ff9b::8.8.8.8"), "inner.example")
    assert not policy.permits(ip_address("64:ff9b::10.0.0.1"), "inner.example")


def test_the_default_policy_is_off():
    policy = OutgoingPolicy()
    assert not policy.takes_host("example.com") and not policy.trusted_networks and policy.ports == {80, 443}


@pytest.mark.parametrize(
    ("host", "is_taken"),
    [
        ("media.example.com", True),
        ("a.cdn.example.com", True),
        ("a.b.cdn.example.com", True),
        ("cdn.example.com", False),
        ("evilcdn.example.com", False),
        ("example.com", False),
        ("media.example.com.evil.com", False),
        ("notmedia.example.com", False),
    ],
)
def test_the_list_takes_whole_names(host, is_taken):
    policy = OutgoingPolicy("allow-list", hosts=("media.example.com", "*.cdn.example.com"))
    assert policy.takes_host(host) is is_taken


@pytest.mark.parametrize(
    "pattern", ["*", "", "*.", "a.*.com", "Example.com", "exämple.com", "example.com.", "a b", "http://a"]
)
def test_a_malformed_pattern_is_an_error(pattern):
    with pytest.raises(ValueError, match="host pattern"):
        OutgoingPolicy("allow-list", hosts=(pattern,))
