// Actions of rules: where a request goes, or what it is answered.
#include <fmt/format.h>

#include <algorithm>

#include "config/tables.h"

namespace lbd::config {
namespace {

namespace json = boost::json;

constexpr std::uint32_t kWeightMax = 999;
constexpr std::uint32_t kMirroredBodyMax = 16 * 1024 * 1024;

/// 301, 302, 303, 307 or 308: what a redirect may answer.
Kind redirect_status(int& out) {
  return {.read =
              [&out](Decoder& decoder, const Cursor& at) {
                const auto* found = scalar_of(decoder, at, "301, 302, 303, 307 or 308");
                if (found == nullptr) return;
                for (const int status : {301, 302, 303, 307, 308}) {
                  if (*found == std::to_string(status)) {
                    out = status;
                    return;
                  }
                }
                decoder.expected(at, "301, 302, 303, 307 or 308");
              },
          .schema =
              [] {
                return json::object{{"enum", json::array{301, 302, 303, 307, 308}}};
              },
          .fallback = fmt::format("`{}`", out)};
}

Table redirect_table(Redirect& redirect) {
  return {
      .doc = "A redirect; #{protocol}, #{host}, #{port}, #{path} and #{query} are the request's.",
      .fields =
          {
              {"protocol", required_text(redirect.protocol, "http, https or #{protocol}"),
               "Scheme of the new URL."},
              {"host", required_text(redirect.host, "a host"), "Host of the new URL."},
              {"port", required_text(redirect.port, "a port"), "Port of the new URL."},
              {"path", required_text(redirect.path, "a path"),
               "Path of the new URL; starts with `/`."},
              {"query", text(redirect.query), "Query of the new URL, without `?`."},
              {"status", redirect_status(redirect.status), "Status of the answer."},
          },
      .later = {},
      .after = {}};
}

Table respond_table(FixedResponse& response) {
  return {.doc = "A fixed answer.",
          .fields =
              {
                  {"status", status(response.status, {200, 599}), "Status of the answer.", true},
                  {"content_type", required_text(response.content_type, "a media type"),
                   "Content-Type of the answer."},
                  {"body", text(response.body), "Body of the answer."},
              },
          .later = {},
          .after = {}};
}

void read_weighted(Decoder& decoder, const Cursor& at, Forward& forward) {
  std::uint64_t sum = 0;
  for (const auto& member : at.value.members) {
    const Cursor item{*member.value, member.place, fmt::format("{}.{}", at.path, member.key)};
    decoder.remember(item);
    WeightedGroup group{member.key, UINT32_MAX};
    whole(group.weight, {0, kWeightMax}).read(decoder, item);
    if (group.weight > kWeightMax) return;
    sum += group.weight;
    forward.weighted.push_back(std::move(group));
  }
  if (sum == 0) {
    decoder.error(at.label, "E2005",
                  fmt::format("{}: {}", at.path,
                              forward.weighted.empty() ? "no target group is named"
                                                       : "at least one weight must be above 0"));
  }
}

/// `forward: web`, or `forward: { web: 90, canary: 10 }`.
Kind forward(Forward& out) {
  return {
      .read =
          [&out](Decoder& decoder, const Cursor& at) {
            constexpr std::string_view kWhat = "a target group, or several with weights";
            if (at.value.kind == ValueKind::mapping && !at.value.broken) {
              return read_weighted(decoder, at, out);
            }
            required_text(out.target_group, kWhat).read(decoder, at);
          },
      .schema =
          [] {
            const json::object weight{{"type", "integer"}, {"minimum", 0}, {"maximum", kWeightMax}};
            return json::object{
                {"anyOf", json::array{json::object{{"type", "string"}, {"minLength", 1}},
                                      json::object{{"type", "object"},
                                                   {"minProperties", 1},
                                                   {"additionalProperties", weight}}}}};
          },
      .fallback = ""};
}

Table mirror_table(Mirror& mirror) {
  return {.doc = "Requests are copied to another target group, whose answers are thrown away.",
          .fields =
              {
                  {"target_group", required_text(mirror.target_group, "a target group"),
                   "Target group that gets the copies.", true},
                  {"percentage", ratio(mirror.share, {0, 1}),
                   "Share of the requests, each drawn by lot."},
                  {"body_bytes_max", size(mirror.body_bytes_max, {0, kMirroredBodyMax}),
                   "Requests with larger bodies are not copied."},
                  {"timeout", duration(mirror.timeout, {milliseconds(1), milliseconds(600'000)}),
                   "From the end of the request to the end of the answer."},
              },
          .later = {},
          .after = {}};
}

/// All three actions at once: exactly one must be there.
struct ActionDraft {
  Forward forward;
  Redirect redirect;
  FixedResponse response;
  std::optional<StickyCookie> sticky;
  std::optional<Mirror> mirror;
};

Table action_table(ActionDraft& draft) {
  return {.doc = "What to do with a request: one of forward, redirect, respond.",
          .fields =
              {
                  {"forward", forward(draft.forward),
                   "Target group that answers, or several with weights (0 to 999): each request "
                   "is drawn by lot."},
                  {"stickiness",
                   object([&draft] { return sticky_cookie_table(draft.sticky.emplace()); }),
                   "With several groups: the lot is drawn once for each client."},
                  {"mirror", object([&draft] { return mirror_table(draft.mirror.emplace()); }),
                   "With forward: a share of the requests goes to another group as well."},
                  {"redirect", object([&draft] { return redirect_table(draft.redirect); }),
                   "Redirect the client."},
                  {"respond", object([&draft] { return respond_table(draft.response); }),
                   "Answer it here."},
              },
          .later = {},
          .after = {}};
}

}  // namespace

Kind action(std::function<void(Action)> set) {
  return {
      .read =
          [set = std::move(set)](Decoder& decoder, const Cursor& at) {
            ActionDraft draft;
            decode(decoder, at, action_table(draft));
            if (at.value.kind != ValueKind::mapping) return;
            const auto* forward = find_member(at.value, "forward");
            const auto* redirect = find_member(at.value, "redirect");
            const auto* respond = find_member(at.value, "respond");
            const int count = (forward != nullptr) + (redirect != nullptr) + (respond != nullptr);
            if (count != 1) {
              decoder.error(at.label, count == 0 ? "E2004" : "E2010",
                            fmt::format("{}: exactly one of forward, redirect and respond is "
                                        "needed, found {}",
                                        at.path, count == 0 ? "none" : std::to_string(count)));
            } else if (draft.sticky && draft.forward.weighted.empty()) {
              decoder.error(find_member(at.value, "stickiness")->place, "E2010",
                            at.path +
                                ": 'stickiness' here keeps clients with one of several "
                                "target groups: there is only one",
                            "to keep them with a target, put it into the target group");
            } else if (draft.mirror && forward == nullptr) {
              decoder.error(find_member(at.value, "mirror")->place, "E2010",
                            at.path + ": 'mirror' copies what is forwarded: there is no forward");
            } else if (forward != nullptr) {
              draft.forward.sticky = draft.sticky;
              draft.forward.mirror = draft.mirror;
              set(draft.forward);
            } else if (redirect != nullptr) {
              set(draft.redirect);
            } else {
              set(draft.response);
            }
          },
      .schema =
          [] {
            ActionDraft sample;
            auto schema = schema_of(action_table(sample));
            json::array one;
            for (const char* key : {"forward", "redirect", "respond"}) {
              one.push_back(json::object{{"required", json::array{key}}});
            }
            schema["oneOf"] = std::move(one);
            schema["dependentRequired"] = json::object{{"mirror", json::array{"forward"}}};
            return schema;
          },
      .fallback = ""};
}

}  // namespace lbd::config
