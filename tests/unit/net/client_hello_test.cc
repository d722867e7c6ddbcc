#include "lbd/net/client_hello.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace lbd::net {
namespace {

using State = ClientHelloReader::State;

struct Read {
  State state = State::reading;
  std::size_t taken = 0;
  std::string name;
};

Read read_by(std::string_view text, std::size_t piece) {
  ClientHelloReader reader;
  Read read;
  while (read.taken < text.size() && reader.state() == State::reading) {
    const std::string_view part = text.substr(read.taken, piece);
    read.taken += reader.step({reinterpret_cast<const std::uint8_t*>(part.data()), part.size()});
  }
  read.state = reader.state();
  read.name = reader.server_name();
  return read;
}

/// The whole, and byte by byte: the same.
Read read(std::string_view text) {
  Read whole = read_by(text, text.size());
  const Read bytes = read_by(text, 1);
  EXPECT_EQ(whole.state, bytes.state);
  EXPECT_EQ(whole.taken, bytes.taken);
  EXPECT_EQ(whole.name, bytes.name);
  return whole;
}

std::string number(std::size_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> (8 * i) & 0xff);
  return text;
}

std::string sized(const std::string& text, int bytes) { return number(text.size(), bytes) + text; }

std::string extension(std::size_t type, const std::string& body) {
  return number(type, 2) + sized(body, 2);
}

std::string names(const std::string& name) {
  return extension(0, sized(number(0, 1) + sized(name, 2), 2));
}

std::string record(const std::string& text) { return "\x16\x03\x01" + sized(text, 2); }

struct Parts {
  std::string version = "\x03\x03";
  std::string session = std::string(32, 's');
  std::string suites = std::string("\x13\x01\x5a\x5a", 4);  // one of them GREASE
  std::string methods = std::string(1, '\0');
};

std::string message(const std::string& extensions, const Parts& parts = {}) {
  const std::string body = parts.version + std::string(32, 'r') + sized(parts.session, 1) +
                           sized(parts.suites, 2) + sized(parts.methods, 1) + sized(extensions, 2);
  return "\x01" + sized(body, 3);
}

const std::string kGrease = extension(0x7a7a, "");
const std::string kOther = extension(43, std::string("\x02\x03\x04", 3));

TEST(ClientHello, NamesTheServerWhereverTheExtensionStands) {
  for (const std::string& extensions :
       {names("shop.test"), kGrease + names("shop.test") + kOther,
        kOther + kGrease + names("shop.test"), names("shop.test") + extension(0x1a1a, "x")}) {
    const std::string text = record(message(extensions));
    const Read found = read(text + "what follows");
    EXPECT_EQ(found.state, State::done);
    EXPECT_EQ(found.name, "shop.test");
    EXPECT_EQ(found.taken, text.size());
  }
}

TEST(ClientHello, ANameIsLowerCaseAndWithoutADotAtItsEnd) {
  EXPECT_EQ(read(record(message(names("SHOP.Example.COM")))).name, "shop.example.com");
  EXPECT_EQ(read(record(message(names("Shop.test.")))).name, "shop.test");
  EXPECT_EQ(read(record(message(names(".")))).state, State::bad);
  EXPECT_EQ(read(record(message(names("a..")))).name, "a.");
}

TEST(ClientHello, WithoutANameItIsWholeAndNamesNobody) {
  EXPECT_EQ(read(record(message(kOther))).state, State::done);
  EXPECT_EQ(read(record(message(kOther))).name, "");
  EXPECT_EQ(read(record(message(""))).state, State::done);
  std::string old = message("");  // before TLS 1.2 there need not be any extensions at all
  old.resize(old.size() - 2);
  old[3] = static_cast<char>(old[3] - 2);
  EXPECT_EQ(read(record(old)).state, State::done);
}

TEST(ClientHello, MayGoOnOverAnyNumberOfRecords) {
  const std::string text = message(kGrease + names("shop.test") + kOther);
  for (std::size_t cut = 1; cut < text.size(); ++cut) {
    const Read found = read(record(text.substr(0, cut)) + record(text.substr(cut)));
    EXPECT_EQ(found.state, State::done) << cut;
    EXPECT_EQ(found.name, "shop.test") << cut;
  }
  std::string crumbs;
  for (const char c : text) crumbs += record(std::string(1, c));
  EXPECT_EQ(read(crumbs).name, "shop.test");
}

TEST(ClientHello, ReadsOnUntilItIsWhole) {
  const std::string text = record(message(names("shop.test") + kOther));
  for (std::size_t cut = 0; cut < text.size(); ++cut) {
    EXPECT_EQ(read(text.substr(0, cut)).state, State::reading) << cut;
  }
}

TEST(ClientHello, WhatServersCouldReadDifferentlyIsRefused) {
  const std::string entry = number(0, 1) + sized("a.test", 2);
  const std::string other_type = number(1, 1) + sized("a.test", 2);
  for (const auto& [what, extensions] : std::vector<std::pair<std::string, std::string>>{
           {"two extensions", names("a.test") + names("b.test")},
           {"two names", extension(0, sized(entry + entry, 2))},
           {"another type of name", extension(0, sized(other_type, 2))},
           {"another type before it", extension(0, sized(other_type + entry, 2))},
           {"no names", extension(0, sized("", 2))},
           {"no list", extension(0, "")},
           {"an empty name", names("")},
           {"a zero in it", names(std::string("a\0b", 3))},
           {"a space in it", names("a b")},
           {"a byte that is no ASCII", names("\xc3\xa4.test")},
           {"a name of 256 bytes", names(std::string(256, 'a'))},
           {"bytes behind the list", extension(0, sized(entry, 2) + "x")},
           {"a list longer than its extension", extension(0, number(99, 2) + entry)},
           {"an extension longer than the message", number(43, 2) + number(99, 2) + "x"},
           {"half an extension", number(43, 2)}}) {
    EXPECT_EQ(read(record(message(extensions))).state, State::bad) << what;
  }
}

TEST(ClientHello, LengthsThatDoNotAddUpAreRefused) {
  const std::string good = message(names("a.test"));
  std::string longer = good;
  longer[3] = static_cast<char>(longer[3] + 1);
  EXPECT_EQ(read(record(longer + "x")).state, State::bad);
  std::string shorter = good;
  shorter[3] = static_cast<char>(shorter[3] - 1);
  EXPECT_EQ(read(record(shorter)).state, State::bad);
  EXPECT_EQ(read(record("\x01" + number(0, 3))).state, State::bad);
  EXPECT_EQ(read(record(message("", {.session = std::string(33, 's')}))).state, State::bad);
  EXPECT_EQ(read(record(message("", {.suites = ""}))).state, State::bad);
  EXPECT_EQ(read(record(message("", {.suites = "abc"}))).state, State::bad);
  EXPECT_EQ(read(record(message("", {.methods = ""}))).state, State::bad);
  EXPECT_EQ(read(record(message("", {.version = "\x02\x03"}))).state, State::bad);
}

TEST(ClientHello, WhatIsNoTlsIsRefusedAtItsFirstByte) {
  EXPECT_EQ(read("GET / HTTP/1.1\r\n").taken, 1U);
  EXPECT_EQ(read("SSH-2.0-OpenSSH\r\n").state, State::bad);
  EXPECT_EQ(read("\x80\x2e\x01\x03\x01").state, State::bad);                 // SSLv2
  EXPECT_EQ(read("\x15\x03\x01" + sized("\x01\x5a", 2)).state, State::bad);  // an alert
  EXPECT_EQ(read(record(std::string("\x02\x00\x00\x00", 4))).state, State::bad);
  EXPECT_EQ(read(std::string("\x16\x03\x01\x00\x00", 5)).state, State::bad);  // an empty record
  EXPECT_EQ(read("\x16\x03\x01" + number(16 * 1024 + 1, 2)).state, State::bad);
}

TEST(ClientHello, NothingMayComeBetweenItsRecords) {
  const std::string text = message(names("a.test"));
  const std::string alert = "\x15\x03\x01" + sized("\x01\x5a", 2);
  EXPECT_EQ(read(record(text.substr(0, 9)) + alert + record(text.substr(9))).state, State::bad);
}

TEST(ClientHello, HasALargestSize) {
  const auto padded = [](std::size_t bytes) {
    const std::string empty = message(extension(21, ""));
    return record(message(extension(21, std::string(bytes - empty.size() - 5, '\0'))));
  };
  EXPECT_EQ(padded(kClientHelloMax).size(), kClientHelloMax);
  EXPECT_EQ(read(padded(kClientHelloMax)).state, State::done);
  const Read over = read(padded(kClientHelloMax + 1));
  EXPECT_EQ(over.state, State::bad);
  EXPECT_LE(over.taken, kClientHelloMax + 1);
  const std::string text = message(extension(21, std::string(4000, '\0')));
  std::string crumbs;  // of which the headers alone are too much
  for (const char c : text) crumbs += record(std::string(1, c));
  EXPECT_EQ(read(crumbs).state, State::bad);
}

/// Captured from real clients: fuzz/corpus/client_hello.
TEST(ClientHello, OfRealClientsAreReadAtEverySplit) {
  for (const std::string file : {"openssl", "openssl_tls12", "curl", "python"}) {
    std::ifstream in(std::string(LBD_SOURCE_DIR "/fuzz/corpus/client_hello/") + file,
                     std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    ASSERT_FALSE(text.empty()) << file;
    EXPECT_EQ(read(text).name, "shop.example.com") << file;
    for (std::size_t cut = 1; cut < text.size(); ++cut) {
      ClientHelloReader reader;
      const auto* data = reinterpret_cast<const std::uint8_t*>(text.data());
      EXPECT_EQ(reader.step({data, cut}), cut);
      EXPECT_EQ(reader.state(), State::reading) << file << " cut at " << cut;
      reader.step({data + cut, text.size() - cut});
      EXPECT_EQ(reader.state(), State::done) << file << " cut at " << cut;
      EXPECT_EQ(reader.server_name(), "shop.example.com");
    }
  }
}

}  // namespace
}  // namespace lbd::net
