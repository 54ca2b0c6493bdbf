#include "hphp/runtime/script.h"

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "text/escape.h"

namespace HPHP {

namespace {

constexpr auto blanks = " \t\r\f\v";

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(blanks);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

bool startsWith(std::string_view text, std::string_view beginning) {
  return text.substr(0, beginning.size()) == beginning;
}

// What is between the quotes of `echo "...";`, or nothing if it is another statement.
std::optional<std::string> echoed(std::string_view statement) {
  constexpr std::string_view echo = "echo";
  if (!startsWith(statement, echo)) return {};
  const auto argument = trim(statement.substr(echo.size()));
  if (argument.size() + echo.size() == statement.size() || !startsWith(argument, "\"")) return {};
  std::size_t end = 1;
  while (end < argument.size() && argument[end] != '"') end += argument[end] == '\\' ? 2 : 1;
  if (end >= argument.size() || trim(argument.substr(end + 1)) != ";") return {};
  return std::string(argument.substr(1, end - 1));
}

}

void run(std::istream& script, std::ostream& output) {
  std::string line;
  for (int number = 1; std::getline(script, line); ++number) {
    const auto statement = trim(line);
    if (const auto literal = echoed(statement)) {
      output << text::unescape(*literal);
    } else if (
        !statement.empty() && !startsWith(statement, "//") && statement != "<?hh" && statement != "<?php") {
      throw std::invalid_argument("syntax error on line " + std::to_string(number) + ": " + line);
    }
  }
}

}
