"""h2spec, strict, against a real target behind lbd, in the clear and over TLS (long: needs Go)."""
import pathlib
import re
import subprocess

from rig import check, check_equal, free_port, test
from test_tls import Authority, https_config

SOURCE = pathlib.Path(__file__).resolve().parents[1] / "h2spec"
CASES = 146  # all that this version has


def h2spec():
    """The suite's binary, built when it is not there."""
    binary = SOURCE.parents[1] / "build/tools/h2spec"
    if not binary.exists():
        binary.parent.mkdir(parents=True, exist_ok=True)
        package = "github.com/summerwind/h2spec/cmd/h2spec"
        command = ["go", "build", "-o", str(binary), package]
        done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True)
        check_equal(done.returncode, 0, f"building h2spec: {done.stderr}")
    return str(binary)


@test("long", 600)
def test_h2spec_passes_strictly_in_the_clear_and_over_tls(rig):
    authority, port, plain = Authority(rig.folder), free_port(), free_port()
    config = https_config(port, [rig.origin()], {"certificates": [authority.make("shop")]})
    clear = {"listen": [f"127.0.0.1:{plain}"], "http2": {"cleartext": True}}
    config["listeners"]["plain"] = {**clear, "default": {"forward": "app"}}
    rig.lbd(config)
    for where, more in ((plain, []), (port, ["-t", "-k"])):
        command = [h2spec(), "-h", "127.0.0.1", "-p", str(where), "-P", "/id", "--strict"]
        command += ["-o", "3", *more]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280)
        counts = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", done.stdout)
        check(counts is not None, f"no verdict: {done.stdout[-500:]} {done.stderr}")
        figures = [int(number) for number in counts.groups()]
        check_equal(figures, [CASES, CASES, 0, 0], f"{more}: {done.stdout[-3000:]}")
