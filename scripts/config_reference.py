#!/usr/bin/env python3
"""docs/reference/config.md from config/schema/v1.json: config_reference.py [--check]

The schema is made from the parser's own field table (`lbd schema`), so the document cannot say
what the parser does not do. --check exits 1 when the document lags behind.
"""
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs/reference/config.md"
KINDS = {"string": "text", "integer": "number", "number": "number", "boolean": "true, false"}
INTRODUCTION = """# Configuration reference

Made from the schema by `scripts/config_reference.py`: change the field table in `config/`, not
this file. `config/example.yaml` shows every key in use, `lbd check FILE` says what is wrong with a
file, and editors that know JSON Schema complete and check it with this first line:

    # yaml-language-server: $schema=/usr/share/lbd/schema/v1.json

A configuration is one YAML file and what it includes, taken as a whole: a reload accepts all of it
or nothing. Unknown and duplicate keys are errors.

| What | How it is written |
|---|---|
| duration | `250ms`, `30s`, `5m`, `2h`, `1d` |
| size | `512B`, `16KiB`, `1MiB`, `10MB` |
| share | `90%` or `0.9` |
| no limit, not at all | `off` where the key says so |
| text from elsewhere | `${env:NAME}`, `${file:/path}` in values; `$${` is a plain `${` |

`NAME` stands for a name of your own, `[]` for each entry of a list. **Bold**: required.

## Rules

The first rule of a listener that matches decides; without one its `default` does. In `when`, keys
are joined by "and", values of one key by "or"; `any`, `all` and `not` hold further conditions, up
to 8 deep. Host names, header values and values of query parameters match in either case; paths,
methods and cookies exactly. Paths and queries are compared as they were sent, not decoded. `*` in a
pattern is any run of characters, `?` any one; expressions are RE2's and match anywhere unless `^`
and `$` anchor them. A `percentage` is drawn for each request, and for each condition by itself.

"The client's address" is the peer's (with `proxy_protocol`, the one that its header states) or,
behind proxies of `trusted_proxies`, the last one in X-Forwarded-For that is not such a proxy.

A request that has found its rule must pass the listener's `access`, `in_flight_limits` and
`rate_limits`, then the rule's; then the body limit holds, then it is forwarded, redirected or
answered. What is rewritten is not looked up again, and is logged as it came. `response_headers`
change every answer to a request of the rule, those that lbd makes itself too. Variables:
`#{protocol}`, `#{host}`, `#{port}`, `#{path}` (without its first slash), `#{query}`, `#{method}`,
`#{client_ip}`, `#{request_id}`, `#{sni}`, `#{tls_version}`, `#{tls_cipher}`.

## Policies

A policy watches one `signal` of its scaling group and is of one type:

- **step** (`above` or `below` with `add`, `remove`, `set` or `steps`): when the signal was beyond
  the threshold for `for` (or in `datapoints_to_alarm` of the last `datapoints` of a `period` each),
  it changes the number wanted. Bounds of steps are distances from the threshold.
- **simple** (`type: simple`): the same with one adjustment, and a rest of `cooldown` after each
  action.
- **target tracking** (`target`): keeps the signal near the target; scales in only below
  `scale_in_ratio` of it.

A signal is measured every second; what is compared is its mean over a `period`, so that noise does
not keep an alarm from being raised. "For 30 seconds" means that each of the last three means of 10
seconds was beyond the threshold. They are formed anew every second. A group that must react within
seconds uses `for: 3s` (three means of one second) and pays for it with a twitch now and then.

| Signal | Reads | Threshold is written as |
|---|---|---|
| `cpu` | mean over the instances in service of use ÷ what the instance has | `90%` |
| `requests_per_target` | completed requests a second and instance | `100` |
| `in_flight_per_target` | requests under way per instance | `10` |
| `latency` | mean time to the response head | `500ms` |

Several policies: scale-out wins over scale-in, and the largest number wanted wins. Any one of them
may add and any step or simple policy may remove; target tracking removes when every policy of its
type agrees. No policy acts on instances that are still warming up, and no scale-in happens that
would put the rest above the scale-out threshold: value × n ÷ (n - removed) must stay below it.
"""


def alternatives(schema):
    for key in ("anyOf", "oneOf"):
        if key in schema and "properties" not in schema:
            return [deeper for each in schema[key] for deeper in alternatives(each)]
    return [schema]


def kind(schema):
    """How a value is written, in a few words."""
    words = []
    for each in alternatives(schema):
        if "pattern" in each and "ms|s|m" in each["pattern"]:
            word = "duration"
        elif "pattern" in each and "KiB" in each["pattern"]:
            word = "size"
        elif "pattern" in each and "%" in each["pattern"]:
            word = "share"
        elif "enum" in each:
            word = ", ".join(f"`{v}`" for v in each["enum"] if not isinstance(v, bool))
        elif "const" in each:
            word = f"`{each['const']}`" if each["const"] not in (0, False) else ""
        elif each.get("type") == "array":
            word = f"list of {kind(each.get('items', {})) or 'text'}"
        elif each.get("type") == "object" or "$ref" in each:
            word = "mapping"
        else:
            word = KINDS.get(each.get("type"), "text")
        if word and word not in words and not (word == "number" and "share" in words):
            words.append(word)
    return " or ".join(words)


def rows(schema, path):
    for each in alternatives(schema):
        required = each.get("required", [])
        for key, value in each.get("properties", {}).items():
            name = f"{path}.{key}" if path else key
            yield name, key in required, value
            yield from rows(value, name)
        if isinstance(each.get("additionalProperties"), dict):
            yield from rows(each["additionalProperties"], f"{path}.NAME")
        if isinstance(each.get("items"), dict):
            yield from rows(each["items"], f"{path}[]")


def document(schema):
    lines = [INTRODUCTION]
    section, seen = None, set()
    for path, required, value in rows(schema, ""):
        if path in seen:
            continue
        seen.add(path)
        top = path.split(".")[0]
        if "." in path and top != section:
            section = top
            lines += ["", f"## {section}", "", "| Key | Value | Meaning |", "|---|---|---|"]
        elif "." not in path and section is None and "properties" not in value:
            if len(seen) == 1:
                lines += ["## Top level", "", "| Key | Value | Meaning |", "|---|---|---|"]
        elif "." not in path:
            continue
        shown = f"**`{path}`**" if required else f"`{path}`"
        meaning = value.get("description", "").replace("|", "\\|")
        lines.append(f"| {shown} | {kind(value)} | {meaning} |")
    return "\n".join(lines) + "\n"


def main():
    text = document(json.loads((ROOT / "config/schema/v1.json").read_text()))
    if "--check" in sys.argv[1:]:
        if DOCUMENT.exists() and DOCUMENT.read_text() == text:
            return 0
        print("docs/reference/config.md lags behind: run scripts/config_reference.py")
        return 1
    DOCUMENT.parent.mkdir(parents=True, exist_ok=True)
    DOCUMENT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
