#include "lbd/route/changes.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace lbd::route {
namespace {

using config::Variable;

Variables values() {
  Variables made;
  made[static_cast<std::size_t>(Variable::client_ip)] = "192.0.2.1";
  made[static_cast<std::size_t>(Variable::host)] = "a.test";
  made[static_cast<std::size_t>(Variable::path)] = "x y&<";
  made[static_cast<std::size_t>(Variable::query)] = "a\r\nb";
  return made;
}

std::string filled(std::string_view text, Encoding encoding = Encoding::line) {
  BufferPool pool;
  Buffer out(pool);
  Template(text).append(values(), encoding, out);
  return std::string(out.view());
}

TEST(Template, VariablesArePutIn) {
  EXPECT_EQ(filled("#{client_ip}"), "192.0.2.1");
  EXPECT_EQ(filled("for #{client_ip} of #{host}!"), "for 192.0.2.1 of a.test!");
  EXPECT_EQ(filled("#{sni}"), "") << "what there is none of is empty";
}

TEST(Template, WhatIsNoVariableStaysAsItIs) {
  for (const char* text : {"", "#", "#{", "#{}", "#{nothing} x", "#{host", "a#{ #b{host}"}) {
    EXPECT_EQ(filled(text), text);
  }
  EXPECT_EQ(filled("#{#{host}"), "#{a.test");
}

TEST(Template, NoValueCanEndALine) { EXPECT_EQ(filled("[#{query}]"), "[a??b]"); }

TEST(Template, ValuesAreEncodedForWhereTheyStand) {
  EXPECT_EQ(filled("&#{path}", Encoding::url), "&x%20y%26%3C");
  EXPECT_EQ(filled("<#{path}", Encoding::html), "<x&#32;y&#38;&#60;");
}

std::string edited(const config::HeaderEdits& edits, std::vector<http::Header> headers) {
  BufferPool pool;
  Buffer text(pool);
  const HeaderEdits compiled(edits);
  compiled.apply(values(), text, headers);
  std::string out;
  for (const http::Header& header : headers) {
    out += std::string(header.name) + "=" + std::string(header.value) + ";";
  }
  return out;
}

TEST(HeaderEdits, RemoveThenSetThenAdd) {
  const config::HeaderEdits edits{.remove = {"x-old"},
                                  .set = {{"X-A", "new"}, {"X-C", "#{client_ip}"}},
                                  .add = {{"x-b", "2"}, {"X-Empty", ""}}};
  EXPECT_EQ(
      edited(edits, {{"X-Old", "1"}, {"x-a", "1"}, {"X-B", "1"}, {"X-OLD", "2"}, {"x-a", "3"}}),
      "X-B=1;X-A=new;X-C=192.0.2.1;x-b=2;X-Empty=;");
}

TEST(HeaderEdits, AFieldThatIsSetIsKnownByItsId) {
  std::vector<http::Header> headers;
  BufferPool pool;
  Buffer text(pool);
  const HeaderEdits compiled({.set = {{"Content-Type", "a/b"}}});
  compiled.apply(values(), text, headers);
  EXPECT_EQ(headers.at(0).id, http::HeaderId::content_type);
}

TEST(HeaderEdits, LongValuesHoldWhileTheBufferGrows) {
  config::HeaderEdits edits;
  for (int i = 0; i < 200; ++i)
    edits.add.push_back({"X-" + std::to_string(i), std::string(99, 'v')});
  std::vector<http::Header> headers;
  BufferPool pool;
  Buffer text(pool);
  const HeaderEdits compiled(edits);
  compiled.apply(values(), text, headers);
  ASSERT_EQ(headers.size(), 200u);
  for (const http::Header& header : headers) EXPECT_EQ(header.value, std::string(99, 'v'));
}

std::string rewritten(const config::Rewrite& rewrite, std::string_view target) {
  http::RequestHead request;
  request.authority = "a.test:80";
  request.target = target;
  const std::size_t mark = target.find('?');
  request.path = target.substr(0, mark);
  if (mark != target.npos) request.query = target.substr(mark + 1);
  BufferPool pool;
  Buffer text(pool);
  const Rewritten url = Rewrite(rewrite).apply(request, values(), text);
  EXPECT_EQ(url.target.substr(0, url.path.size()), url.path);
  EXPECT_TRUE(url.target.ends_with(url.query));
  return std::string(url.authority) + " " + std::string(url.target);
}

TEST(Rewrite, WhatItDoesNotNameStaysAsItIs) {
  const config::Rewrite host{.host = "b.#{host}:8080"};
  EXPECT_EQ(rewritten(host, "/x?y=1&y=2"), "b.a.test:8080 /x?y=1&y=2");
  EXPECT_EQ(rewritten(host, "/x?"), "b.a.test:8080 /x?");
  EXPECT_EQ(rewritten(host, "*"), "b.a.test:8080 *");
  EXPECT_TRUE(Rewrite(config::Rewrite{}).empty());
  EXPECT_FALSE(Rewrite(host).empty());
}

TEST(Rewrite, APathPrefixIsReplacedByWholeSegments) {
  const auto replaced = [](const char* from, const char* to, std::string_view path) {
    return rewritten({.path_prefix_from = from, .path_prefix_to = to}, path).substr(10);
  };
  EXPECT_EQ(replaced("/api/", "/", "/api/x"), "/x");
  EXPECT_EQ(replaced("/api", "/", "/api/x"), "/x");
  EXPECT_EQ(replaced("/api", "/v2", "/api/x?q"), "/v2/x?q");
  EXPECT_EQ(replaced("/api/", "/v2", "/api/x"), "/v2/x");
  EXPECT_EQ(replaced("/api", "/v2", "/api"), "/v2");
  EXPECT_EQ(replaced("/api", "/", "/api"), "/");
  EXPECT_EQ(replaced("/", "/v2/", "/x"), "/v2/x");
  EXPECT_EQ(replaced("/api", "/v2", "/apis/x"), "/apis/x") << "another segment";
  EXPECT_EQ(replaced("/api", "/v2", "/x/api"), "/x/api");
  EXPECT_EQ(replaced("/", "/v2", "*"), "*");
}

TEST(Rewrite, APathIsMadeOfWhatAnExpressionMatched) {
  const auto replaced = [](const char* match, const char* to, std::string_view path) {
    return rewritten({.path_regex = match, .path_to = to}, path).substr(10);
  };
  EXPECT_EQ(replaced("^/v(\\d+)/(.*)$", "/\\2/\\1", "/v12/a/b?q=1"), "/a/b/12?q=1");
  EXPECT_EQ(replaced("b(x)?", "/\\0\\1!", "/abc"), "/b!") << "a group that took no part is empty";
  EXPECT_EQ(replaced("^/(.*)$", "\\1", "/a"), "/a") << "a path starts with a slash";
  EXPECT_EQ(replaced("^/(.*)$", "\\1", "/"), "/");
  EXPECT_EQ(replaced("^/x", "/y", "/a"), "/a");
}

TEST(Rewrite, QueryParametersAreRemovedSetAndAdded) {
  const config::Rewrite rewrite{
      .query_remove = {"debug"}, .query_set = {{"v", "a b"}}, .query_add = {{"from", "#{path}"}}};
  EXPECT_EQ(rewritten(rewrite, "/x?a=1&debug&v=1&debug=2&v=2").substr(10),
            "/x?a=1&v=a%20b&from=x%20y%26%3C");
  EXPECT_EQ(rewritten(rewrite, "/x").substr(10), "/x?v=a%20b&from=x%20y%26%3C");
  EXPECT_EQ(rewritten({.query_remove = {"a"}}, "/x?a=1").substr(10), "/x") << "nothing is left";
  EXPECT_EQ(rewritten({.query_remove = {"a"}}, "/x?aa=1&A=2").substr(10), "/x?aa=1&A=2");
}

TEST(ErrorPages, TheStatusGoesBeforeItsClass) {
  const ErrorPages pages({{"503", {"text/plain", "own"}}, {"5xx", {"text/html", "class"}}});
  EXPECT_EQ(pages.find(503)->content_type, "text/plain");
  EXPECT_EQ(pages.find(502)->content_type, "text/html");
  EXPECT_EQ(pages.find(404), nullptr);
}

}  // namespace
}  // namespace lbd::route
