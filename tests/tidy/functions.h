// Finds the functions of a C++ file without parsing C++.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace lbd::tidy {

struct Function {
  std::string head;  // from the end of what stands before it to its brace
  std::size_t first_line = 0;
  std::size_t last_line = 0;
};

/// Function bodies at namespace and class scope. `code`: see blank_all_but_code.
std::vector<Function> functions_of(const std::string& code);
/// Parameters of a function by its head: commas of its first parentheses that are not
/// `operator()`, `alignas(…)` and the like.
std::size_t parameters_of(const std::string& head);

}  // namespace lbd::tidy
