// The field tables of every object; see fields.h. Each is built around the object that it fills.
#pragma once

#include "config/config.h"
#include "config/fields.h"

namespace lbd::config {

[[nodiscard]] Table config_table(Config& config);
[[nodiscard]] Table node_table(Node& node);
[[nodiscard]] Table listener_table(Listener& listener);
[[nodiscard]] Table listener_http2_table(ListenerHttp2& http2);
[[nodiscard]] Table listener_tls_table(ListenerTls& tls);
[[nodiscard]] Table upstream_tls_table(UpstreamTls& tls);
/// What of a group's `tls` cannot be meant; `at` is the group, whose other keys have been read.
void check_upstream_tls(const TargetGroup& group, Decoder& decoder, const Cursor& at);
[[nodiscard]] Table rule_table(Rule& rule);
[[nodiscard]] Kind action(std::function<void(Action)> set);
[[nodiscard]] Table rewrite_table(Rewrite& rewrite);
[[nodiscard]] Table header_edits_table(HeaderEdits& edits);
/// As `networks`, but at least one.
[[nodiscard]] Kind some_networks(std::vector<Cidr>& out);
[[nodiscard]] Table access_table(AccessList& access);
[[nodiscard]] Table rate_limit_table(RateLimit& limit);
[[nodiscard]] Table in_flight_limit_table(InFlightLimit& limit);
[[nodiscard]] Kind error_pages(std::map<std::string, ErrorPage>& out);
[[nodiscard]] Table compression_table(Compression& compression);
[[nodiscard]] Table sticky_cookie_table(StickyCookie& sticky);
[[nodiscard]] Table stickiness_table(Stickiness& stickiness);
[[nodiscard]] Table target_group_table(TargetGroup& group);
[[nodiscard]] Table scaling_group_table(ScalingGroup& group);
/// The list `policies`; names that are not given are derived from signal and position.
[[nodiscard]] Kind policies(std::vector<Policy>& out);

}  // namespace lbd::config
