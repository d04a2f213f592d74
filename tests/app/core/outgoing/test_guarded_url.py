from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import ErrorCode, InputError
from app.core.outgoing.guarded_url import parse_url, redirected
from app.core.outgoing.policy import OutgoingPolicy

PUBLIC = OutgoingPolicy("public")
REFUSED = [
    "",
    "film.mp4",
    "//example.com/a",
    "http:",
    "http://",
    "http:///a",
    "http:/example.com",
    "http:example.com",
    "ftp://example.com/a",
    "file:///etc/passwd",
    "gopher://example.com:80/_x",
    "data:video/mp4;base64,AAAA",
    "javascript:alert(1)",
    "unix:///var/run/docker.sock",
    "http+unix://%2fvar%2frun%2fdocker.sock/a",
    "view-source:http://example.com",
    "http://user@example.com/",
    "http://user:password@example.com/",
    "http://@example.com/",
    "http://example.com:80@127.0.0.1/",
    "http://127.0.0.1\\@example.com/",
    "http://example.com\\.evil.com/",
    "http:\\\\example.com/",
    " http://example.com/",
    "http://example.com/ ",
    "http://exa mple.com/",
    "http://example.com/a b",
    "http://example.com/\r\nX-Header: 1",
    "http://example.com/\nHost: a",
    "ht\ttp://example.com/",
    "http://example.com\t/",
    "http://example.com/\x00",
    "http://example.com/\x7f",
    "http://example.com/\u2028",
    "http://exa\u200bmple.com/",
    "http://example.com/\u202e4pm",
    "http://example.com/\ud800",
    "http://example.com:22/",
    "http://example.com:6379/",
    "http://example.com:0/",
    "http://example.com:99999/",
    "http://example.com:8e1/",
    "http://example.com:+80/",
    "http://example.com:-80/",
    "http://example.com:８０/",
    "http://example.com:80:80/",
    "http://example.com%2f/",
    "http://127.0.0.1%2f/",
    "http://%31%32%37.0.0.1/",
    "http://[fe80::1%25eth0]/",
    "http://[::1/",
    "http://::1/",
    "http://[v1.a]/",
    "http://[::1]evil.com/",
    "http://evil.com[::1]/",
    "http://[example.com]/",
    "http://[1.2.3.4]/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.0.0.1.1/",
    "http://127.0.0.256/",
    "http://127.0.0.01/",
    "http://example.1/",
    "http://example.0x1/",
    "http://a..b/",
    "http://.example.com/",
    "http://example.com../",
    "http://./",
    "http://-example.com/",
    "http://example-.com/",
    "http://exam!ple.com/",
    "http://ex*mple.com/",
    "http://example.com,evil.com/",
    f"http://{'a' * 64}.com/",
    f"http://{'a.' * 130}com/",
    f"http://example.com/{'a' * 5000}",
    "http://exa／mple.com/",
    "http://example.com＠evil.com/",
    "http://example。com：80/",
]


@pytest.mark.parametrize("text", REFUSED)
def test_what_parsers_could_read_differently_is_refused(text):
    with pytest.raises(InputError) as caught:
        parse_url(text, PUBLIC)
    assert caught.value.code is ErrorCode.URL_BLOCKED


@pytest.mark.parametrize(
    ("text", "host", "port", "target"),
    [
        ("http://example.com", "example.com", 80, "/"),
        ("HTTPS://EXAMPLE.com:443/A?b=C#part", "example.com", 443, "/A?b=C"),
        ("http://example.com:/a", "example.com", 80, "/a"),
        ("http://example.com:443/", "example.com", 443, "/"),
        ("http://example.com./a", "example.com", 80, "/a"),
        (
            "http://my_bucket.s3.example.com/a%20b+c?X-Sig=a%2Fb&c",
            "my_bucket.s3.example.com",
            80,
            "/a%20b+c?X-Sig=a%2Fb&c",
        ),
        ("http://example.com?a", "example.com", 80, "/?a"),
        ("http://bücher.example/ü?ü", "xn--bcher-kva.example", 80, "/%C3%BC?%C3%BC"),
        ("http://例え。テスト/", "xn--r8jz45g.xn--zckzah", 80, "/"),
        ("http://example.com/a@b:c", "example.com", 80, "/a@b:c"),
        ('http://example.com/"<>^`{|}', "example.com", 80, "/%22%3C%3E%5E%60%7B%7C%7D"),
        ("http://93.184.216.34/", "93.184.216.34", 80, "/"),
        ("http://９３.184.216.34/", "93.184.216.34", 80, "/"),
        ("http://[2606:4700:0::1111]/", "2606:4700::1111", 80, "/"),
        ("http://redis/", "redis", 80, "/"),
    ],
)
def test_the_parts_of_good_addresses(text, host, port, target):
    url = parse_url(text, PUBLIC)
    assert (url.host, url.port, url.target) == (host, port, target)
    assert parse_url(str(url), PUBLIC) == url


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("http://example.com/", "example.com"),
        ("http://example.com:443/", "example.com:443"),
        ("https://example.com:443/", "example.com"),
        ("http://[2606:4700::1111]:443/", "[2606:4700::1111]:443"),
    ],
)
def test_the_authority_names_a_port_only_where_needed(text, authority):
    assert parse_url(text, PUBLIC).authority == authority


NASTY = st.lists(
    st.sampled_from(
        "http:// https:// // / \\ @ : . 。 % %2e # ? & [ ] ::1 127 0x7f 0177 1 example com xn-- - _ é １ a".split()
    )
    | st.characters()
).map("".join)


@given(NASTY)
def test_any_text_is_refused_or_stays_what_it_is(rest):
    for text in (rest, f"http://{rest}", f"http://example.com{rest}"):
        try:
            url = parse_url(text, PUBLIC)
        except InputError:
            continue
        assert str(url).isascii() and not set(url.target) & set(' \\"<>') and parse_url(str(url), PUBLIC) == url
        assert url.address is not None or not url.host.split(".")[-1].isdigit()


def test_off_refuses_all():
    with pytest.raises(InputError, match="takes no addresses"):
        parse_url("http://example.com/", OutgoingPolicy())


def test_the_list_is_asked_for_the_name_that_is_used():
    policy = OutgoingPolicy("allow-list", hosts=("example.com", "xn--bcher-kva.example"))
    for text in ("http://EXAMPLE.com./", "http://bücher.example/"):
        parse_url(text, policy)
    for text in ("http://example.com.evil.com/", "http://evil.com/example.com", "http://93.184.216.34/"):
        with pytest.raises(InputError, match="list"):
            parse_url(text, policy)


PRIVATE = tuple(ip_network(text) for text in ("127.0.0.0/8", "10.0.0.0/8", "::1/128"))
LISTED = OutgoingPolicy("public", ("localhost", "127.0.0.1", "::1", "169.254.169.254"), trusted_networks=PRIVATE)
NEVER = [
    ("http://10.0.0.1/", PUBLIC),
    ("http://127.0.0.1/", PUBLIC),
    ("http://169.254.169.254/", PUBLIC),
    ("http://[::1]/", PUBLIC),
    ("http://[::ffff:10.0.0.1]/", PUBLIC),
    ("http://[fe80::1]/", PUBLIC),
    ("http://localhost/", PUBLIC),
    ("http://LOCALHOST./", PUBLIC),
    ("http://a.localhost/", PUBLIC),
    ("http://10.0.0.1/", LISTED),
    ("http://169.254.169.254/", LISTED),
    ("http://a.localhost/", LISTED),
]


@pytest.mark.parametrize(("text", "policy"), NEVER)
def test_a_host_that_can_only_lead_inside_is_refused_without_a_lookup(text, policy):
    with pytest.raises(InputError, match="does not lead to a public host"):
        parse_url(text, policy)
    with pytest.raises(InputError, match="does not lead to a public host"):
        redirected(parse_url("http://example.com/", policy), text, policy)


@pytest.mark.parametrize(
    "text", ["http://localhost/", "http://127.0.0.1/", "http://[::1]/", "http://localhost.example/"]
)
def test_hosts_that_the_service_trusts_stay_open(text):
    assert parse_url(text, LISTED).scheme == "http"


@pytest.mark.parametrize(
    ("location", "result"),
    [
        ("/b", "https://example.com/b"),
        ("b?c", "https://example.com/x/b?c"),
        ("//other.com/b", "https://other.com/b"),
        ("https://other.com/b", "https://other.com/b"),
        ("../../../b", "https://example.com/b"),
        ("", "https://example.com/x/a"),
    ],
)
def test_redirects_are_resolved(location, result):
    assert str(redirected(parse_url("https://example.com/x/a", PUBLIC), location, PUBLIC)) == result


@pytest.mark.parametrize(
    "location",
    [
        "http://example.com/",
        "file:///etc/passwd",
        "ftp://example.com",
        "https://a@example.com/",
        "https://example.com:22/",
        "https://exa mple.com",
        "\\\\evil.com",
        "https://[::1",
        "https://0x7f.1/",
        "/" + "a" * 5000,
    ],
)
def test_redirects_are_checked_as_addresses_are(location):
    with pytest.raises(InputError) as caught:
        redirected(parse_url("https://example.com/x/a", PUBLIC), location, PUBLIC)
    assert caught.value.code is ErrorCode.URL_BLOCKED
