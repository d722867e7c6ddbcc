#include "scaler/aws/ini.h"

#include <algorithm>

namespace lbd::aws {
namespace {

constexpr std::size_t kFileBytesMax = 1 << 20;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r";
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

std::string lower(std::string_view text) {
  std::string made(text);
  for (char& c : made) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  return made;
}

std::string section_name(std::string_view text) {
  std::string made;
  for (const char c : trimmed(text)) {
    const bool blank = c == ' ' || c == '\t';
    if (!blank) {
      made += c;
    } else if (made.back() != ' ') {
      made += ' ';
    }
  }
  return made;
}

std::string_view without_comment(std::string_view value) {
  for (const std::string_view mark : {" #", " ;", "\t#", "\t;"}) {
    value = value.substr(0, value.find(mark));
  }
  return trimmed(value);
}

IniFile read_ini(const config::FileReader& machine, const std::string& path) {
  const Outcome<std::string> text = machine.read(path, kFileBytesMax);
  return text ? parse_ini(*text) : IniFile();
}

std::string path_of(const config::FileReader& machine, const std::string& name,
                    std::string_view in_home) {
  std::string path = variable(machine, name);
  const std::string home = variable(machine, "HOME");
  if (path.empty()) return home.empty() ? "" : home + "/" + std::string(in_home);
  if (path.starts_with("~/")) path.replace(0, 1, home);
  return path;
}

}  // namespace

IniFile parse_ini(std::string_view text) {
  IniFile file;
  IniSection* section = nullptr;
  std::string outer;
  while (!text.empty()) {
    const std::string_view raw = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(raw.size() + 1, text.size()));
    const std::string_view line = trimmed(raw);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[') {
      const std::size_t end = line.find(']');
      if (end == std::string_view::npos) {
        section = nullptr;
      } else {
        section = &file[section_name(line.substr(1, end - 1))];
      }
      outer.clear();
      continue;
    }
    const std::size_t equals = line.find('=');
    if (section == nullptr || equals == std::string_view::npos) continue;
    const bool nested = !outer.empty() && (raw.front() == ' ' || raw.front() == '\t');
    const std::string key = lower(trimmed(line.substr(0, equals)));
    const std::string_view value = without_comment(line.substr(equals + 1));
    if (!nested) outer = value.empty() ? key : std::string();
    (*section)[nested ? outer + "." + key : key] = value;
  }
  return file;
}

std::string Profile::value(const std::string& key) const {
  for (const IniSection* section : {&credentials, &config}) {
    const auto found_at = section->find(key);
    if (found_at != section->end()) return found_at->second;
  }
  return {};
}

Profile load_profile(const config::FileReader& machine, const std::string& name) {
  Profile profile;
  for (const std::string& each :
       {name, variable(machine, "AWS_PROFILE"), variable(machine, "AWS_DEFAULT_PROFILE")}) {
    if (each.empty()) continue;
    profile.name = each;
    profile.explicitly = true;
    break;
  }
  const IniFile credentials =
      read_ini(machine, path_of(machine, "AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"));
  const IniFile config = read_ini(machine, path_of(machine, "AWS_CONFIG_FILE", ".aws/config"));
  const auto secrets = credentials.find(profile.name);
  auto settings = config.find("profile " + profile.name);
  if (settings == config.end() && profile.name == "default") settings = config.find("default");
  profile.found = secrets != credentials.end() || settings != config.end();
  if (secrets != credentials.end()) profile.credentials = secrets->second;
  if (settings != config.end()) profile.config = settings->second;
  const auto services = config.find("services " + profile.value("services"));
  if (services != config.end()) profile.services = services->second;
  return profile;
}

std::string variable(const config::FileReader& machine, const std::string& name) {
  return machine.environment(name).value_or(std::string());
}

bool is_true(std::string_view text) { return lower(text) == "true"; }

}  // namespace lbd::aws
