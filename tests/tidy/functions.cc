#include "tests/tidy/functions.h"

#include <cctype>
#include <regex>

#include "tests/tidy/tree.h"

namespace lbd::tidy {
namespace {

/// Finds function bodies by their braces. Relies on clang-format: an initialiser's brace touches
/// the word before it, a body's does not.
class Functions {
 public:
  explicit Functions(const std::string& code) : code_(code) {}

  std::vector<Function> find() {
    for (at_ = 0; at_ < code_.size(); ++at_) step(code_[at_]);
    return found_;
  }

 private:
  enum class Scope { open, value, function, inner };

  void step(char c) {
    if (c == '\n') ++line_;
    const bool inside = !scopes_.empty() && scopes_.back() != Scope::open;
    if (c == '{') {
      open_scope(inside);
    } else if (c == '}') {
      close_scope();
    } else if (!inside && (c == ';' || is_access_label(c))) {
      if (round_ == 0) head_.clear();
    } else if (!inside) {
      add_to_head(c);
    }
  }

  void open_scope(bool inside) {
    scopes_.push_back(inside ? Scope::inner : classify());
    if (scopes_.back() == Scope::function) found_.push_back({head_, head_line_, 0});
    if (scopes_.back() == Scope::open) head_.clear();
  }

  void close_scope() {
    const Scope ended = scopes_.empty() ? Scope::open : scopes_.back();
    if (!scopes_.empty()) scopes_.pop_back();
    if (ended == Scope::function) found_.back().last_line = line_;
    if (ended == Scope::function || ended == Scope::open) head_.clear();
  }

  void add_to_head(char c) {
    if (c == '(') ++round_;
    if (c == ')') --round_;
    if (head_.empty() && std::isspace(static_cast<unsigned char>(c)) != 0) return;
    if (head_.empty()) head_line_ = line_;
    head_ += c;
  }

  [[nodiscard]] bool is_access_label(char c) const {
    return c == ':' && (head_ == "public" || head_ == "private" || head_ == "protected");
  }

  [[nodiscard]] Scope classify() const {
    static const std::regex type(
        R"(^(template\s*<[^{]*>\s*)?(inline )?(namespace|class|struct|union|enum|extern)\b)");
    const char before = at_ > 0 ? code_[at_ - 1] : ' ';
    if (before != ' ' && before != '\n') return Scope::value;
    const std::size_t last = head_.find_last_not_of(" \n");
    if (last != std::string::npos && std::string("=,(").find(head_[last]) != std::string::npos)
      return Scope::value;
    if (std::regex_search(head_, type) && !(starts_with(head_, "extern") && has_parameters()))
      return Scope::open;
    return has_parameters() ? Scope::function : Scope::value;
  }
  [[nodiscard]] bool has_parameters() const { return head_.find('(') != std::string::npos; }

  const std::string& code_;
  std::size_t at_ = 0;
  std::size_t line_ = 1;
  int round_ = 0;  // open parentheses of the head
  std::string head_;
  std::size_t head_line_ = 1;
  std::vector<Scope> scopes_;
  std::vector<Function> found_;
};

}  // namespace

std::vector<Function> functions_of(const std::string& code) { return Functions(code).find(); }

std::size_t parameters_of(const std::string& head) {
  static const std::regex skipped(
      R"(operator\s*\(\s*\)|\b(alignas|explicit|decltype)\s*\([^)]*\))");
  const std::string plain = std::regex_replace(head, skipped, "operator_");
  std::size_t at = plain.find('(');
  if (at == std::string::npos) return 0;
  std::size_t count = 0;
  int depth = 1;
  bool any = false;
  for (++at; at < plain.size() && depth > 0; ++at) {
    const char c = plain[at];
    if (std::string("(<[{").find(c) != std::string::npos) ++depth;
    if (std::string(")>]}").find(c) != std::string::npos) --depth;
    if (c == ',' && depth == 1) ++count;
    if (depth > 0 && std::isspace(static_cast<unsigned char>(c)) == 0) any = true;
  }
  return any ? count + 1 : 0;
}

}  // namespace lbd::tidy
