"""CPU of EC2 instances that do not report it themselves: node_exporter on them, or CloudWatch."""
import datetime
import http.server
import threading
import time

from ec2_case import Case
from rig import check, check_equal, test, wait_until

HIGH = {"signal": "cpu", "above": "90%", "for": "3s", "add": 1}
LOW = {"signal": "cpu", "below": "50%", "for": "3s", "remove": 1}


class Exporters:
    """What node_exporter tells of two CPUs on each instance; `busy` is their share from now on."""

    def __init__(self, rig, port, busy):
        self.port, self.scrapes, self._servers = port, 0, {}
        self._lock, self._at = threading.Lock(), time.monotonic()
        self._busy, self._seconds = busy, {"idle": 1000.0, "user": 500.0}
        rig.closers.append(self.close)

    def set_busy(self, share):
        with self._lock:
            self._account()
            self._busy = share

    def _account(self):
        now = time.monotonic()
        passed, self._at = now - self._at, now
        self._seconds["user"] += passed * self._busy
        self._seconds["idle"] += passed * (1 - self._busy)

    def text(self):
        with self._lock:
            self._account()
            self.scrapes += 1
            rows = [f'node_cpu_seconds_total{{cpu="{cpu}",mode="{mode}"}} {seconds:.2f}'
                    for cpu in (0, 1) for mode, seconds in self._seconds.items()]
        return "\n".join(["# TYPE node_cpu_seconds_total counter", *rows, ""]).encode()

    def cover(self, addresses):
        """Listens on these addresses from now on, besides those before."""
        exporters = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = exporters.text() if self.path == "/metrics" else b""
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        for address in set(addresses) - set(self._servers):
            server = http.server.ThreadingHTTPServer((address, self.port), Handler)
            self._servers[address] = server
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def close(self):
        for server in self._servers.values():
            server.shutdown()
            server.server_close()


def addresses(case):
    return [row["address"] for row in case.cloud.live()]


@test("default", 120)
def test_node_exporters_cpu_scales_out_and_in_and_its_port_may_change(rig):
    def of_port(port):
        cpu = {"sources": ["node_exporter"], "node_exporter": {"port": port}}
        return {"cpu": cpu, "policies": [HIGH, LOW]}

    case = Case(rig, **of_port(9100))
    exporters = Exporters(rig, 9100, busy=0.97)
    case.wait_agreed(3)
    time.sleep(2)
    check_equal(len(case.launched()), 3, "launches without any figure")
    exporters.cover(addresses(case))
    case.wait_serving(4)
    case.check_sentence(r"scale out 3 -> 4: cpu 9[67]\.?[0-9]* % above 90 % for 3 s")
    moved = Exporters(rig, 9200, busy=0.1)
    moved.cover(addresses(case))
    code, _, text = case.lbd.reload(case.config(**of_port(9200)))
    check_equal(code, 0, f"reload: {text}")
    wait_until(lambda: moved.scrapes >= 8, 30, "the new port is not scraped")
    before = exporters.scrapes
    moved.cover(addresses(case))  # a fifth may have come by the last of the old figures
    case.wait_agreed(3, 60)
    check_equal(exporters.scrapes, before, "scrapes of the old port since")
    case.check_bounds()


def put_cpu(case, percent, minute):
    """A datapoint of each live instance for the minute that begins at `minute`, Unix time."""
    at = datetime.datetime.fromtimestamp(minute, datetime.timezone.utc)
    rows = [{"MetricName": "CPUUtilization", "Timestamp": at, "Value": percent, "Unit": "Percent",
             "Dimensions": [{"Name": "InstanceId", "Value": row["id"]}]}
            for row in case.cloud.live()]
    case.cloud.client("cloudwatch").put_metric_data(Namespace="AWS/EC2", MetricData=rows)


@test("long", 420)
def test_cloudwatchs_minutes_scale_out_once_each(rig):
    minute = {**HIGH, "for": "1m", "period": "1m"}
    case = Case(rig, start=False, cpu={"sources": ["cloudwatch"]}, policies=[minute])
    case.faults.detailed_monitoring = True
    case.start()
    case.wait_agreed(3)
    whole = (int(time.time() + 3) // 60 + 1) * 60  # begins when all three have warmed up
    wait_until(lambda: time.time() >= whole + 61, 130, "the clock stands still")
    put_cpu(case, 95.0, whole)
    case.wait_agreed(4, 100)
    case.check_sentence(r"scale out 3 -> 4: cpu 95 % above 90 % for 60 s")
    asked = len(case.faults.calls("GetMetricData"))
    wait_until(lambda: len(case.faults.calls("GetMetricData")) >= asked + 2, 150, "not asked")
    time.sleep(2)
    check_equal(len(case.launched()), 4, "launches for one datapoint")
    check(not case.faults.calls("TerminateInstances"), "it ended something")
