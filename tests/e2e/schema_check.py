#!/usr/bin/env python3
"""The JSON Schema accepts every example and refuses every wrong configuration that a schema can.

Usage: schema_check.py REPOSITORY. Needs jsonschema and PyYAML. Exits 1 on any mismatch.
"""
import pathlib
import re
import sys

import json
import jsonschema
import yaml

# Wrong in a way that no schema sees: references and comparisons between values, duplicates (gone
# once the file is loaded), includes and references to the environment, quotes, and text that is
# well-formed but means nothing.
BEYOND_A_SCHEMA = set("""
    access_empty check_grpc_without_http2 cookie_key_short desired_out_of_bounds dns_ttl_limits
    duplicate_group duplicate_key duplicate_key_flow duration_out_of_range ec2_instance_port
    ec2_reserved_tag ec2_subnet_twice ejection_longer_than_max error_page_variable
    forward_unknown forward_unknown_far forward_weighted_unknown forward_weights_zero
    group_tls_on_http group_tls_server_name group_tls_trust_without_verify group_without_targets
    header_framing header_hop_by_hop_removed header_host header_name_blank header_two_lines
    header_variable_open header_variable_unknown health_codes health_host_lines health_host_path
    health_path health_path_blank health_path_fragment health_path_lines health_timeout_longer
    http2_cleartext_on_https http_to_layer4 in_flight_cookie_without_name include_cycle
    include_missing include_same_name include_same_node layer4_answers layer4_conditions
    layer4_group_keys layer4_group_with_tls layer4_least_latency layer4_listener_keys
    layer4_passthrough_with_certificate layer4_rates layer4_rule_keys layer4_sni_without_tls
    layer4_to_http limits_head_smaller_than_line listen_metrics_port listen_port_too_large
    listen_twice min_larger_than_max mirror_at_layer4 mirror_to_itself mirror_unknown_group
    policy_add_and_remove policy_add_zero
    policy_adjustment_disagrees policy_cooldown_of_step policy_cpu_without_percent
    policy_datapoints_to_alarm policy_for_and_datapoints policy_for_not_a_multiple
    policy_latency_without_unit policy_names_twice policy_over_a_day policy_period_of_parts
    policy_period_of_tracking policy_period_too_short policy_statistic_of_tracking
    policy_step_with_target_key policy_thresholds_overlap policy_without_adjustment
    process_zone_address provider_sections proxy_protocol_of_nobody rate_by_header_without_name
    rate_header_name rate_name_without_header rate_never_full rate_too_fast
    ratio_forgotten_percent redirect_placeholder redirect_port redirect_same_url
    respond_body_of_204 rewrite_both_paths rewrite_group_missing rewrite_host_url
    rewrite_host_variable rewrite_of_a_redirect rewrite_path_with_query rewrite_prefix_relative
    rewrite_query_name rewrite_regex_broken rule_body_larger_than_listener rule_cookie_name
    rule_header_name rule_header_regex_lookahead rule_host_is_url rule_host_with_port
    rule_method_blank rule_names_twice rule_nested_too_deep rule_not_empty rule_path_relative
    rule_percentage rule_percentage_forgotten rule_regex_broken rule_source_empty
    rule_timeout_zero scaling_group_unknown secret_group_is_not_shown size_too_large
    step_backwards steps_gap steps_mixed steps_overlap steps_two_open_ends
    sticky_app_cookie_missing sticky_app_cookie_unused sticky_app_duration sticky_cookie_name
    sticky_forward_to_one sticky_same_name tag target_address_with_port
    target_ipv6_without_brackets target_name_is_ip target_name_twice target_name_without_port
    target_srv_with_port target_srv_with_weight target_twice target_unix_check_port
    target_unix_too_long target_unix_twice target_without_port tls_headers_without_verify
    tls_missing tls_no_certificate tls_on_http tls_trust_without_verify tls_verify_without_trust
    value_control version_missing zone_pause_longer_than_max
""".split())


class Loader(yaml.SafeLoader):
    """YAML 1.2's plain words, as editors read them: only true and false are booleans."""


Loader.yaml_implicit_resolvers = {}
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), list("tf"))
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^-?(0|[1-9][0-9]*)$"), list("-0123456789"))
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^-?[0-9]+\.[0-9]+$"), list("-0123456789"))
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"^(~|null|)$"), ["~", "n", ""])


def accepted(validator, path):
    """True when the file is YAML and the schema has nothing to say."""
    try:
        value = yaml.load(path.read_bytes().decode("utf-8"), Loader)
        return not list(validator.iter_errors(value))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, TypeError):
        return False


def main():
    root = pathlib.Path(sys.argv[1])
    schema = json.loads((root / "config/schema/v1.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    failures = []
    examples = sorted(root.glob("examples/*.yaml")) + [root / "config/example.yaml"]
    wrong = sorted((root / "tests/unit/config/wrong").glob("*.yaml"))
    for path in examples:
        if not accepted(validator, path):
            failures.append(f"{path.name}: an example is refused")
    for path in wrong:
        name = path.stem
        harmless = name.startswith("warn_") or name in BEYOND_A_SCHEMA
        if accepted(validator, path) != harmless:
            failures.append(f"{name}: " + ("refused, but listed as beyond a schema" if harmless
                                           else "accepted, though it is wrong"))
    for line in failures:
        print(line)
    print(f"{len(examples) + len(wrong) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
