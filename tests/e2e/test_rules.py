"""Conditions of rules against the real binary: who gets which answer."""
import concurrent.futures

from http_text import NO_CHECKS
from rig import check, check_equal, free_port, request, simple_config, test
from test_tls import Authority, connect, fetch


def says(name, **when):
    """A rule that answers with its own name."""
    return {"name": name, "when": when, "then": {"respond": {"status": 200, "body": name}}}


def ruled(rig, rules, **listener):
    """lbd with these rules and an origin that none of the tests needs; all else: "other"."""
    rig.port = free_port()
    other = {"respond": {"status": 200, "body": "other"}}
    target = {"address": "127.0.0.1:9", "zone": "a"}
    config = simple_config(rig.port, [target], NO_CHECKS,
                           {"rules": rules, "default": other, **listener})
    return rig.lbd(config)


def answer_to(rig, path="/", method="GET", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return request(rig.port, path, method, headers=named).body.decode()


def check_answers(rig, expected):
    """expected: {answer: [(path, method, headers)…]}"""
    for answer, asked in expected.items():
        for path, method, headers in asked:
            got = answer_to(rig, path, method, **headers)
            check_equal(got, answer, f"{method} {path} {headers}")


@test()
def test_rules_tell_methods_headers_queries_and_cookies_apart(rig):
    ruled(rig, [
        says("method", method=["POST", "PUT"]),
        says("header", header={"X-Version": ["2", "3.*"], "X-Beta": "*"}),
        says("query", query={"format": "json"}),
        says("any-value", query={"*": "v9"}),
        says("cookie", cookie={"beta": "yes"}),
    ])
    check_answers(rig, {
        "method": [("/", "POST", {}), ("/x?format=json", "PUT", {})],
        "header": [("/", "GET", {"x_version": "3.1", "x_beta": "1"})],
        "query": [("/?a=1&format=JSON", "GET", {})],
        "any-value": [("/?whatever=v9", "GET", {})],
        "cookie": [("/", "GET", {"cookie": "a=b; beta=yes"})],
        "other": [("/", "GET", {}), ("/", "GET", {"x_version": "2"}), ("/?xformat=json", "GET", {}),
                  ("/", "GET", {"cookie": "beta=no"})],
    })


@test()
def test_rules_match_by_regular_expressions(rig):
    ruled(rig, [
        says("path", path_regex=r"^/v[0-9]+/"),
        says("agent", header_regex={"User-Agent": "Mobile|Android"}),
        says("host", host_regex=r"^(www\.)?shop\.test$"),
    ])
    check_answers(rig, {
        "path": [("/v12/x", "GET", {})],
        "agent": [("/", "GET", {"user_agent": "a Mobile b"})],
        "host": [("/", "GET", {"host": "WWW.shop.test:80"})],
        "other": [("/x/v1/", "GET", {}), ("/", "GET", {"host": "xshop.test"})],
    })


@test()
def test_conditions_are_nested(rig):
    ruled(rig, [says("inside", path="/admin/*", any=[{"method": "PUT"}, {"query": {"ok": "*"}}],
                     **{"not": {"header": {"X-Bad": "*"}}})])
    check_answers(rig, {
        "inside": [("/admin/x", "PUT", {}), ("/admin/x?ok=1", "GET", {})],
        "other": [("/admin/x", "GET", {}), ("/x", "PUT", {}),
                  ("/admin/x", "PUT", {"x_bad": "1"})],
    })


@test()
def test_the_source_address_is_the_peers_and_nobody_can_claim_another(rig):
    ruled(rig, [says("home", source_ip=["127.0.0.0/8", "::1"]),
                says("office", source_ip="192.0.2.0/24")])
    check_equal(answer_to(rig), "home", "the peer's own address")
    check_equal(answer_to(rig, x_forwarded_for="192.0.2.1"), "home", "a claim of a stranger")


@test()
def test_behind_a_trusted_proxy_the_source_address_is_the_last_it_did_not_trust(rig):
    forwarded = {"trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8"]}
    ruled(rig, [says("office", source_ip="192.0.2.0/24"), says("v6", source_ip="2001:db8::/32"),
                says("proxy", source_ip="127.0.0.1"), says("tls", scheme="https")],
          forwarded_headers=forwarded)
    for claim, answer in {
            "192.0.2.1": "office", "192.0.2.1:4711": "office", "9.9.9.9, 192.0.2.1": "office",
            "192.0.2.1, 10.1.1.1": "office", "192.0.2.1, 9.9.9.9": "other",
            "[2001:db8::1]:80": "v6", "2001:db8::1": "v6", "192.0.2.1, unknown": "proxy",
            "": "proxy"}.items():
        check_equal(answer_to(rig, x_forwarded_for=claim), answer, f"X-Forwarded-For: {claim}")
    with_scheme = answer_to(rig, x_forwarded_for="9.9.9.9", x_forwarded_proto="https")
    check_equal(with_scheme, "tls", "X-Forwarded-Proto of a trusted proxy")


@test()
def test_rules_see_the_scheme_and_the_server_name_of_the_handshake(rig):
    certificate = Authority(rig.folder).make("a", "*.a.test", "b.test")
    ruled(rig, [says("a", sni="*.a.test"), says("https", scheme="https")], protocol="https",
          tls={"certificates": [certificate]})
    expected = {"x.a.test": b"a", "X.A.test": b"a", "b.test": b"https", None: b"https"}
    for name, answer in expected.items():
        with connect(rig.port, name) as wire:
            check_equal(fetch(wire)[2], answer, f"server name {name}")


@test()
def test_a_percentage_takes_about_its_share_of_the_requests(rig):
    ruled(rig, [says("tenth", percentage="10%"), says("half", percentage="50%")])

    def some(count):
        return [answer_to(rig) for _ in range(count)]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = sum(pool.map(some, [500] * 4), [])
    share = {each: answers.count(each) / len(answers) for each in ("tenth", "half", "other")}
    check(0.06 < share["tenth"] < 0.14, f"{share}: a tenth of all")
    check(0.39 < share["half"] < 0.51, f"{share}: half of the rest")


@test()
def test_the_first_of_many_thousand_rules_that_matches_wins(rig):
    rules = [says(f"h{n}", host=f"h{n}.test", path=f"/p{n % 10}/*") for n in range(3000)]
    rules[1500:1500] = [says("early", path="/p7/early")]
    ruled(rig, rules)
    check_equal(answer_to(rig, "/p7/early", host="h17.test"), "h17", "a rule before it")
    check_equal(answer_to(rig, "/p7/early", host="h2007.test"), "early", "a rule after it")
    check_equal(answer_to(rig, "/p7/x", host="h2007.test"), "h2007", "the last part")
    check_equal(answer_to(rig, "/p8/x", host="h2007.test"), "other", "another path")


@test()
def test_explain_says_what_the_running_daemon_would_do_and_a_file_what_it_would(rig):
    origin = rig.origin()
    rig.port = free_port()
    rules = [says("posts", method="POST"),
             says("lab", header={"X-Lab": "*"}, source_ip="10.0.0.0/8"),
             {"name": "shop", "when": {"path": "/shop/*"}, "then": {"forward": "app"},
              "rewrite": {"path_prefix": {"from": "/shop", "to": "/"}}}]
    daemon = rig.lbd(simple_config(rig.port, [origin.target()], None, {"rules": rules}))
    daemon.wait_states({origin.text: "healthy"})
    asked = ["explain", "GET", "http://a.test/shop/cart", "-H", "X-Lab: 1"]
    code, out, _ = daemon.cli(*asked)
    check_equal(code, 0, "exit code")
    for words in ("method 'GET' matches none of: POST", "the client's address is not known",
                  "⇒ shop: forward", "as GET /cart, Host: a.test", f"{origin.text}  a  healthy"):
        check(words in out, f"{words!r} is not in {out}")
    answer = daemon.json(*asked, "--source", "10.1.2.3")
    check_equal(answer["listeners"][0]["answers"][0]["rule"], "lab", "with the address")
    code, out, _ = daemon.cli("explain", "POST", "http://a.test/", "-c", str(daemon.file))
    check(code == 0 and "⇒ posts: respond 200" in out, f"of the file: {code} {out}")
    check_equal(daemon.cli("explain", "GET", "a.test")[0], 64, "no URL")
    check_equal(daemon.cli("explain", "GET", "http://a/", "--listener", "x")[0], 1, "no listener")
