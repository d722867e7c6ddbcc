// The shared files of the AWS tools: ~/.aws/config and ~/.aws/credentials.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "config/files.h"

namespace lbd::aws {

using IniSection = std::map<std::string, std::string>;  // keys in lower case
using IniFile = std::map<std::string, IniSection>;      // by section name, blanks made one

/// Pure. Understands `key = value`, `#` and `;` comments, and nested lines (an indented `key =
/// value` under an empty value), which become `outer.key`. What it does not understand it skips.
[[nodiscard]] IniFile parse_ini(std::string_view text);

/// One profile as both files have it; credentials win over config where both have a key.
struct Profile {
  std::string name = "default";
  bool explicitly = false;  // named by the configuration or AWS_PROFILE, not by default
  bool found = false;
  IniSection credentials;  // of the credentials file
  IniSection config;       // of the config file
  IniSection services;     // of the config file's `[services NAME]` that the profile names

  /// Empty when there is none.
  [[nodiscard]] std::string value(const std::string& key) const;
};

/// Reads both files anew. `name`: as the configuration has it; empty: AWS_PROFILE,
/// AWS_DEFAULT_PROFILE, "default".
[[nodiscard]] Profile load_profile(const config::FileReader& machine, const std::string& name);

/// An environment variable; empty when unset. Empty and unset mean the same to AWS tools.
[[nodiscard]] std::string variable(const config::FileReader& machine, const std::string& name);

/// "true" in any case is true, all else is not.
[[nodiscard]] bool is_true(std::string_view text);

}  // namespace lbd::aws
