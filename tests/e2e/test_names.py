"""Targets by name: what comes and goes with DNS, and what its failures leave as it was."""
import contextlib
import threading
import time

from dns_server import A, AAAA, CNAME, SERVFAIL, SRV, DnsServer
from http_text import NO_CHECKS, answer, get
from rig import QUICK_CHECK, RawOrigin, Wire, check, check_equal, free_port, request
from rig import simple_config, slowness, test, wait_until
from test_tls import Authority
from tls_origin import TlsOrigin, server_context

NAME = "app.internal"
SERVICE = "_http._tcp.app.internal"
FAST = {"min_ttl": "200ms", "max_ttl": "10s"}


class Named(RawOrigin):
    """Answers with its address; `hold`: an event that answers wait for."""

    def __init__(self, rig, address, port=0):
        self.hold, self.address = None, address
        super().__init__(rig, self.answer_all, address, port)

    def answer_all(self, connection, _):
        while self.head(connection):
            if self.hold:
                self.hold.wait(20)
            answer(connection, self.address.encode())


def named(rig, dns, target, group=None, start=True, **dns_more):
    """lbd with one group whose only target is `target`, asking `dns`."""
    rig.port = free_port()
    node = {"dns": {"resolvers": [dns.text], **FAST, **dns_more}, "workers": 1}
    return rig.lbd(simple_config(rig.port, [target], {**NO_CHECKS, **(group or {})}, None, node),
                   start=start)


def addresses(lbd):
    return {row["address"] for row in lbd.targets() if row["state"] != "draining"}


def wait_addresses(lbd, expected, deadline=10):
    wait_until(lambda: addresses(lbd) == set(expected), deadline,
               lambda: f"targets are {lbd.targets()}, expected {expected}")
    time.sleep(0.1 * slowness())  # until every worker has them


def answers(rig, count=20):
    """Who answers, over connections of their own."""
    return {request(rig.port, "/").body.decode() for _ in range(count)}


@test()
def test_addresses_of_a_name_come_and_go_with_its_answers(rig):
    dns = DnsServer(rig)
    one = Named(rig, "127.0.0.11")
    port = one.port
    two = Named(rig, "127.0.0.12", port)
    dns.set(NAME, A, [one.address])
    lbd = named(rig, dns, {"name": NAME, "port": port, "zone": "z9"})
    wait_addresses(lbd, [one.text])
    check_equal(answers(rig), {one.address}, "one address")
    row = lbd.targets()[0]
    check_equal((row["name"], row["zone"]), (f"{NAME}:{port}", "z9"), "whence, and where")
    check(f"{NAME}:{port}" in lbd.cli("targets")[1], "the table does not say the name")
    dns.set(NAME, A, [one.address, two.address])
    wait_addresses(lbd, [one.text, two.text])
    check_equal(answers(rig), {one.address, two.address}, "two addresses")
    dns.set(NAME, A, [two.address])
    wait_addresses(lbd, [two.text])
    check_equal(answers(rig), {two.address}, "the other")
    check(lbd.metric("lbd_name_lookups_total", result="ok") >= 3, "look-ups counted")
    check_equal(lbd.metric("lbd_names_failing"), 0, "failing names")
    told = [line for line in lbd.process.stderr().splitlines() if "other addresses" in line]
    check_equal(len(told), 3, "lines of changes")
    check(two.text in told[1] and one.text not in told[1], told[1])


@test()
def test_an_answer_holds_as_long_as_it_says_and_no_longer(rig):
    dns = DnsServer(rig)
    origin = Named(rig, "127.0.0.11")
    dns.set(NAME, A, [origin.address], ttl=2)
    lbd = named(rig, dns, {"name": NAME, "port": origin.port})
    wait_addresses(lbd, [origin.text])
    before = dns.count(NAME, A)
    time.sleep(1.5)
    check_equal(dns.count(NAME, A), before, "asked again within its time to live")
    wait_until(lambda: dns.count(NAME, A) == before + 1, 3, "not asked again after it")
    dns.set(NAME, A, [origin.address], ttl=100_000)
    before = dns.count(NAME, A)
    wait_until(lambda: dns.count(NAME, A) > before, 5, "not asked again")
    lbd.config["node"]["dns"]["max_ttl"] = "1s"  # also for the answer that holds already
    check_equal(lbd.reload(lbd.config)[0], 0, "reload")
    before = dns.count(NAME, A)
    wait_until(lambda: dns.count(NAME, A) > before, 3, "max_ttl does not hold")
    dns.set(NAME, A, [origin.address], ttl=0)
    lbd.config["node"]["dns"].update({"min_ttl": "1s", "max_ttl": "2s"})
    check_equal(lbd.reload(lbd.config)[0], 0, "reload")
    time.sleep(1.5)
    before = dns.count(NAME, A)
    time.sleep(2.2)
    check(1 <= dns.count(NAME, A) - before <= 3, "min_ttl does not hold")


@test()
def test_a_failed_look_up_keeps_the_last_answer_and_says_so(rig):
    dns = DnsServer(rig)
    origin = Named(rig, "127.0.0.11")
    dns.set(NAME, A, [origin.address])
    lbd = named(rig, dns, {"name": NAME, "port": origin.port})
    wait_addresses(lbd, [origin.text])
    for failure, reason in ((SERVFAIL, "server_failure"), ("garbage", None), ("drop", None),
                            (3, "no_such_name")):
        dns.failing[NAME] = failure
        wait_until(lambda: lbd.metric("lbd_names_failing") == 1, 15, f"{failure} is not noticed")
        check_equal(addresses(lbd), {origin.text}, f"targets after {failure}")
        check_equal(request(rig.port, "/").status, 200, f"requests after {failure}")
        state = lbd.json("targets")["names"][0]
        if reason:
            check_equal(state["failure"], reason, "reason")
            check(lbd.metric("lbd_name_lookups_total", result=reason) > 0, "not counted")
        out = lbd.cli("targets")[1]
        check("cannot be looked up" in out and "its addresses are those of" in out, out)
        del dns.failing[NAME]
        wait_until(lambda: lbd.metric("lbd_names_failing") == 0, 40, f"no recovery from {failure}")
    told = lbd.process.stderr().count("a name cannot be looked up")
    check_equal(told, 4, "lines in the log for four failures")
    records = dns.records.pop((NAME, A))
    dns.set(NAME, SRV, [])  # the name is there, but without addresses
    wait_until(lambda: lbd.metric("lbd_names_failing") == 1, 15, "an empty answer is not noticed")
    check_equal(addresses(lbd), {origin.text}, "targets after an empty answer")
    dns.records[NAME, A] = records


@test()
def test_one_family_that_fails_keeps_what_it_had_while_the_other_moves_on(rig):
    dns = DnsServer(rig)
    four = Named(rig, "127.0.0.11")
    dns.set(NAME, A, [four.address])
    dns.set(NAME, AAAA, ["::1"])
    lbd = named(rig, dns, {"name": NAME, "port": four.port})
    wait_addresses(lbd, [four.text, f"[::1]:{four.port}"])
    dns.failing[NAME] = None
    real = dns.answer

    def without_six(question, over):
        if dns.question_end(question) and question[-4:-2] == b"\0\x1c":
            return None
        return real(question, over)

    dns.answer = without_six
    dns.set(NAME, A, [four.address, "127.0.0.12"])
    wait_addresses(lbd, [four.text, f"127.0.0.12:{four.port}", f"[::1]:{four.port}"], 20)


@test()
def test_a_start_does_not_wait_for_names(rig):
    dns = DnsServer(rig)
    origin = Named(rig, "127.0.0.11")
    dns.set(NAME, A, [origin.address])
    dns.failing[NAME] = "drop"
    began = time.monotonic()
    lbd = named(rig, dns, {"name": NAME, "port": origin.port})
    check(time.monotonic() - began < 8, "the start waits for DNS")
    reply = request(rig.port, "/")
    found = (reply.status, reply.headers["x-lbd-reason"])
    check_equal(found, (503, "no_healthy_target"), "without any answer yet")
    del dns.failing[NAME]
    wait_addresses(lbd, [origin.text], 20)
    check_equal(request(rig.port, "/").status, 200, "after the first answer")


@test()
def test_a_slow_server_holds_nothing_up(rig):
    dns = DnsServer(rig)
    origin = Named(rig, "127.0.0.11")
    dns.set(NAME, A, [origin.address])
    dns.delay = 1
    lbd = named(rig, dns, {"name": NAME, "port": origin.port})
    for _ in range(20):  # the control plane answers while it waits
        began = time.monotonic()
        lbd.cli("status")
        check(time.monotonic() - began < 1, "the control plane stands still")
    wait_addresses(lbd, [origin.text], 20)
    lbd.stop(deadline=5)  # with a look-up under way


@test()
def test_a_request_at_an_address_that_goes_is_finished(rig):
    dns = DnsServer(rig)
    one = Named(rig, "127.0.0.11")
    two = Named(rig, "127.0.0.12", one.port)
    dns.set(NAME, A, [one.address])
    lbd = named(rig, dns, {"name": NAME, "port": one.port})
    wait_addresses(lbd, [one.text])
    one.hold = threading.Event()
    with Wire(rig.port) as wire:
        wire.send(get("/"))
        wait_until(lambda: one.seen, 5, "the request does not arrive")
        dns.set(NAME, A, [two.address])
        wait_addresses(lbd, [two.text])
        leaving = [row for row in lbd.targets() if row["address"] == one.text]
        check_equal([row["state"] for row in leaving], ["draining"], "while it has a request")
        check(NAME in leaving[0]["reason"], leaving[0]["reason"])
        check_equal(answers(rig, 5), {two.address}, "new requests")
        one.hold.set()
        reply = wire.reply()
        check_equal((reply.status, reply.body), (200, one.address.encode()), "the one under way")
        wait_until(lambda: {row["address"] for row in lbd.targets()} == {two.text}, 5,
                   "it does not go when its request is over")


@test()
def test_services_bring_ports_and_weights_of_the_lowest_priority(rig):
    dns = DnsServer(rig)
    one, two, spare = (Named(rig, f"127.0.0.{last}") for last in (11, 12, 13))
    for number, origin in enumerate((one, two, spare)):
        dns.set(f"n{number}.internal", A, [origin.address])
    dns.set(SERVICE, SRV, [(10, 3, one.port, "n0.internal"), (10, 1, two.port, "N1.internal"),
                           (20, 9, spare.port, "n2.internal")])
    lbd = named(rig, dns, {"srv": SERVICE}, {"balance": "round_robin"})
    wait_addresses(lbd, [one.text, two.text])
    weights = {row["address"]: row["weight"] for row in lbd.targets()}
    check_equal(weights, {one.text: 3, two.text: 1}, "weights")
    counts = {one.address: 0, two.address: 0}
    for _ in range(40):
        counts[request(rig.port, "/").body.decode()] += 1
    check(28 <= counts[one.address] <= 32, f"shares: {counts}")
    check_equal(lbd.targets()[0]["name"], SERVICE, "whence")
    dns.set(SERVICE, SRV, [(20, 9, spare.port, "n2.internal"), (20, 0, one.port, "n0.internal")])
    wait_addresses(lbd, [one.text, spare.text])
    weights = {row["address"]: row["weight"] for row in lbd.targets()}
    check_equal(weights, {one.text: 1, spare.text: 1000}, "a weight of 0 beside another")
    dns.failing["n2.internal"] = SERVFAIL
    time.sleep(3)
    check_equal(addresses(lbd), {one.text, spare.text}, "a host that cannot be looked up stays")
    for data, what in (([(0, 0, 0, ".")], "a service that says there is none"),
                       ([(0, 0, 80, "unknown.internal")], "services of unknown hosts only")):
        dns.set(SERVICE, SRV, data)
        asked = dns.count(SERVICE, SRV)
        wait_until(lambda: dns.count(SERVICE, SRV) > asked + 1, 40, "not asked again")
        check_equal(addresses(lbd), {one.text, spare.text}, what)


@test()
def test_two_hundred_addresses_come_over_tcp_and_each_serves(rig):
    dns = DnsServer(rig)
    origin = Named(rig, "0.0.0.0")
    everyone = [f"127.7.{number // 100}.{number % 100 + 1}" for number in range(200)]
    dns.set(NAME, A, everyone)
    lbd = named(rig, dns, {"name": NAME, "port": origin.port}, {"balance": "round_robin"})
    wait_addresses(lbd, [f"{each}:{origin.port}" for each in everyone], 20)
    check(dns.count(NAME, A, "tcp") >= 1, "not asked over TCP")
    for _ in range(200):
        check_equal(request(rig.port, "/").status, 200, "status")
    served = [row for row in lbd.targets() if row["requests"] > 0]
    check_equal(len(served), 200, "targets that have served")


@test()
def test_an_alias_is_followed_and_its_time_to_live_counts(rig):
    dns = DnsServer(rig)
    one = Named(rig, "127.0.0.11")
    two = Named(rig, "127.0.0.12", one.port)
    dns.set(NAME, CNAME, ["blue.internal"], ttl=1)
    dns.set("blue.internal", A, [one.address], ttl=1000)
    dns.set("green.internal", A, [two.address], ttl=1000)
    lbd = named(rig, dns, {"name": NAME, "port": one.port}, max_ttl="10m")
    wait_addresses(lbd, [one.text])
    dns.set(NAME, CNAME, ["green.internal"], ttl=1)
    wait_addresses(lbd, [two.text])


@test()
def test_checks_and_tls_go_by_the_name(rig):
    files = Authority(rig.folder).make("app", NAME)
    dns = DnsServer(rig)

    def script(wire):
        while head := origin.head(wire):
            answer(wire, head)

    origin = TlsOrigin(rig, server_context(files), script)
    dns.set(NAME, A, ["127.0.0.1"])
    group = {"protocol": "https", "tls": {"trust": files["chain"]}, "health_check": QUICK_CHECK}
    lbd = named(rig, dns, {"name": NAME, "port": origin.port}, group)
    lbd.wait_states({origin.text: "healthy"})
    check(f"host: {NAME}:{origin.port}".encode() in origin.seen[0].lower(), f"{origin.seen[0]}")
    check_equal(request(rig.port, "/").status, 200, "status")
    check_equal(set(origin.asked), {NAME}, "server names")
    dns.set("n0.internal", A, ["127.0.0.1"])
    dns.set(SERVICE, SRV, [(0, 0, origin.port, "n0.internal")])
    lbd.config["target_groups"]["app"]["targets"] = [{"srv": SERVICE}]
    check_equal(lbd.reload(lbd.config)[0], 0, "reload")
    wait_until(lambda: lbd.targets() and lbd.targets()[0]["name"] == SERVICE, 10, "no service")
    lbd.wait_states({origin.text: "healthy"})
    check_equal(request(rig.port, "/").status, 200, "status of a service")
    check_equal(set(origin.asked), {NAME}, "the service's domain, not what its answer names")


@test()
def test_a_reload_keeps_what_names_stand_for(rig):
    dns = DnsServer(rig)
    origin = Named(rig, "127.0.0.11")
    dns.set(NAME, A, [origin.address], ttl=600)
    config = {"health_check": {**QUICK_CHECK, "protocol": "tcp"}}
    lbd = named(rig, dns, {"name": NAME, "port": origin.port}, config, max_ttl="10m")
    lbd.wait_states({origin.text: "healthy"})
    asked = dns.count(NAME, A)
    since = lbd.targets()[0]["since"]
    dns.failing[NAME] = "drop"
    lbd.config["listeners"]["public"]["timeouts"] = {"idle": "9s"}
    lbd.config["target_groups"]["app"]["targets"][0]["weight"] = 5
    check_equal(lbd.reload(lbd.config)[0], 0, "reload")
    row = lbd.targets()[0]
    found = (row["address"], row["state"], row["since"], row["weight"])
    check_equal(found, (origin.text, "healthy", since, 5), "its target")
    check_equal(dns.count(NAME, A), asked, "asked again for the same")
    other = DnsServer(rig, "127.0.0.2")
    other.set(NAME, A, ["127.0.0.12"], ttl=600)
    lbd.config["node"]["dns"]["resolvers"] = [other.text]
    check_equal(lbd.reload(lbd.config)[0], 0, "reload")
    wait_addresses(lbd, [f"127.0.0.12:{origin.port}"])
    lbd.config["target_groups"]["app"]["targets"] = [origin.target()]
    check_equal(lbd.reload(lbd.config)[0], 0, "reload")
    wait_addresses(lbd, [origin.text])
    asked = other.count(NAME, A)
    check_equal(lbd.json("targets")["names"], [], "names")


def loopback_of_hosts_file():
    """(name, address) of a line for this host; containers and Debian have one."""
    lines = [line.partition("#")[0].split() for line in open("/etc/hosts", encoding="utf-8")]
    for address, *names in (line for line in lines if line):
        for name in names:
            if address.startswith("127.") and name != "localhost":
                return name, address
    return "localhost", "127.0.0.1"


@test()
def test_the_hosts_file_counts_when_no_resolver_is_given(rig):
    name, address = loopback_of_hosts_file()
    origin = Named(rig, address)
    rig.port = free_port()
    lbd = rig.lbd(simple_config(rig.port, [{"name": name, "port": origin.port}], NO_CHECKS))
    wait_until(lambda: origin.text in addresses(lbd), 30, lambda: f"{lbd.json('targets')}")
    check(address in answers(rig), f"nobody answers at {address}")


@test()
def test_localhost_is_this_host_without_any_server(rig):
    dns = DnsServer(rig)
    origin = Named(rig, "127.0.0.1")
    lbd = named(rig, dns, {"name": "localhost", "port": origin.port})
    wait_addresses(lbd, [origin.text, f"[::1]:{origin.port}"])
    check_equal(dns.asked, [], "questions")


@test()
def test_names_and_addresses_in_one_group_are_each_there_once(rig):
    dns = DnsServer(rig)
    one = Named(rig, "127.0.0.11")
    two = Named(rig, "127.0.0.12", one.port)
    dns.set(NAME, A, [one.address, two.address])
    dns.set("other.internal", A, [two.address])
    lbd = named(rig, dns, {"name": NAME, "port": one.port})
    targets = [one.target(), {"name": NAME, "port": one.port},
               {"name": "other.internal", "port": one.port}]
    lbd.config["target_groups"]["app"]["targets"] = targets
    check_equal(lbd.reload(lbd.config)[0], 0, "reload")
    wait_addresses(lbd, [one.text, two.text])
    rows = {row["address"]: row["name"] for row in lbd.targets()}
    check_equal(rows[one.text], "", "the address as such comes first")
    check_equal(len(lbd.targets()), 2, "targets")


@test("default", timeout=90)
def test_names_that_change_under_load_lose_no_request(rig):
    dns = DnsServer(rig)
    one = Named(rig, "127.0.0.11")
    others = [Named(rig, f"127.0.0.{last}", one.port) for last in (12, 13, 14)]
    everyone = [one, *others]
    dns.set(NAME, A, [one.address], ttl=0)
    lbd = named(rig, dns, {"name": NAME, "port": one.port})
    wait_addresses(lbd, [one.text])
    done, failed = threading.Event(), []

    def ask():
        while not done.is_set():
            with contextlib.suppress(OSError), Wire(rig.port) as wire:
                for _ in range(50):
                    wire.send(get("/"))
                    reply = wire.reply()
                    if reply is None or reply.status != 200:
                        failed.append(reply and reply.status)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for each in clients:
        each.start()
    for turn in range(12):
        some = [everyone[turn % 4], everyone[(turn + 1) % 4]]
        dns.set(NAME, A, [each.address for each in some], ttl=0)
        wait_addresses(lbd, [each.text for each in some])
    done.set()
    for each in clients:
        each.join()
    check_equal(failed, [], "failed requests")
