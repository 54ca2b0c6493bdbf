#include "text/escape.h"

#include <stdexcept>

namespace text {

std::string unescape(const std::string& literal) {
  std::string result;
  for (std::size_t i = 0; i < literal.size(); ++i) {
    if (literal[i] != '\\') {
      result += literal[i];
      continue;
    }
    const char escaped = ++i < literal.size() ? literal[i] : '\0';
    switch (escaped) {
      case 'n': result += '\n'; break;
      case 't': result += '\t'; break;
      case '\\':
      case '"': result += escaped; break;
      default: throw std::invalid_argument("unknown escape in \"" + literal + "\"");
    }
  }
  return result;
}

}
