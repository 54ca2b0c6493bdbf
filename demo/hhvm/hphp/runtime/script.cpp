#include "hphp/runtime/script.h"

#include <regex>
#include <stdexcept>
#include <string>

#include "text/escape.h"

namespace HPHP {

void run(std::istream& script, std::ostream& output) {
  static const std::regex ignored(R"(\s*(//.*|<\?(hh|php))?\s*)");
  static const std::regex echo(R"re(\s*echo\s+"((?:[^"\\]|\\.)*)"\s*;\s*)re");

  std::string line;
  for (int number = 1; std::getline(script, line); ++number) {
    std::smatch match;
    if (std::regex_match(line, match, echo)) {
      output << text::unescape(match[1]);
    } else if (!std::regex_match(line, ignored)) {
      throw std::invalid_argument("syntax error on line " + std::to_string(number) + ": " + line);
    }
  }
}

}
