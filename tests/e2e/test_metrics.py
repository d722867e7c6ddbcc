"""/metrics: correct for promtool, for our own stricter check, and for a real Prometheus."""
import json
import shutil
import subprocess
import urllib.parse

from exposition import problems
from rig import check, check_equal, free_port, request, test, wait_until

BAD = """# HELP a_total Things.
# TYPE a_total counter
a_total{x="1",y="2"} 1
a_total{y="2",x="1"} 1
# TYPE a_total counter
b_things 3
"""


def some_traffic(rig):
    lbd = rig.proxy(rig.origins("ab"))
    for path in ("/id", "/status/404", "/status/500", "/size?n=100000"):
        for _ in range(5):
            request(rig.port, path)
    request(rig.port, "/echo", "POST", body=b"hello")
    return lbd


def exposition(lbd):
    return request(lbd.metrics_port, "/metrics")


@test()
def test_our_own_check_finds_what_promtool_overlooks(rig):
    found = " ".join(problems(BAD))
    for word in ("series twice", "TYPE of a_total twice", "b_things has no HELP"):
        check(word in found, f"not found: {word} in {found}")


@test()
def test_promtool_finds_nothing_to_complain_about(rig):
    lbd = some_traffic(rig)
    text = exposition(lbd).body
    command = [shutil.which("promtool") or "promtool", "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, timeout=30)
    output = (done.stdout + done.stderr).decode()
    check(done.returncode == 0 and not output.strip(), f"promtool: {output}")


@test()
def test_no_series_appears_twice_and_every_family_is_explained(rig):
    lbd = some_traffic(rig)
    reply = exposition(lbd)
    check_equal(problems(reply.body.decode()), [], "problems")
    content_type = reply.headers["content-type"].replace(" ", "")
    check(content_type.startswith("text/plain;version=0.0.4"), content_type)


@test()
def test_lbd_made_and_target_made_codes_are_apart(rig):
    lbd = some_traffic(rig)
    made = lbd.metric("lbd_requests_total", code="500", origin="target")
    check_equal(made, 5, "500s the target made")
    check_equal(lbd.metric("lbd_requests_total", code="500", origin="lb"), 0, "500s lbd made")
    check_equal(lbd.metric("lbd_requests_total", code="404", origin="target"), 5, "404s")
    total = lbd.metric("lbd_requests_total")
    check_equal(total, 21, "requests in all")
    check_equal(lbd.metric("lbd_request_duration_seconds_count"), 21, "durations in all")
    for code_class, wanted in (("5xx", 5), ("4xx", 5)):
        counted = lbd.metric("lbd_request_duration_seconds_count", code_class=code_class)
        check_equal(counted, wanted, f"durations of {code_class}")
    check_equal(lbd.metric("lbd_requests_in_flight"), 0, "in flight at rest")
    check_equal(lbd.metric("lbd_targets", state="healthy"), 2, "healthy targets")


@test()
def test_series_of_a_target_group_that_is_gone_are_gone(rig):
    lbd = some_traffic(rig)
    config = dict(lbd.config)
    config["target_groups"] = {"other": config["target_groups"]["app"]}
    config["listeners"]["public"]["default"] = {"forward": "other"}
    check_equal(lbd.reload(config)[0], 0, "reload")
    stale = [s for s in lbd.metrics() if s.startswith("lbd_targets{") and '"app"' in s]
    check_equal(stale, [], "series of the old group")


@test("smoke", 90)
def test_a_real_prometheus_scrapes_it(rig):
    lbd = some_traffic(rig)
    port = free_port()
    config = rig.folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 900ms}\n"
        "scrape_configs:\n"
        "- job_name: lbd\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{lbd.metrics_port}']}}]\n"
    )
    command = [
        shutil.which("prometheus") or "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={rig.folder}/tsdb",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    prometheus = rig.process(command, "prometheus")

    def value(query):
        path = "/api/v1/query?" + urllib.parse.urlencode({"query": query})
        try:
            result = json.loads(request(port, path).body)["data"]["result"]
        except (OSError, ValueError, KeyError):
            return None
        return float(result[0]["value"][1]) if result else None

    wait_until(lambda: value('up{job="lbd"}') == 1, 30, lambda: f"not up: {prometheus.tail()}")
    wait_until(lambda: (value("sum(lbd_requests_total)") or 0) > 0, 15, "no requests counted")
    check_equal(value("sum(lbd_requests_total)"), 21, "lbd_requests_total in Prometheus")
