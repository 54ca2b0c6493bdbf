#include "hphp/runtime/settings.h"

#include <fstream>
#include <stdexcept>

namespace HPHP {

namespace {

std::string trim(const std::string& text) {
  const auto blanks = " \t\r";
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

}

void Settings::read(const std::string& file) {
  std::ifstream lines(file);
  if (!lines) throw std::runtime_error("cannot open " + file);
  for (std::string line; std::getline(lines, line);) {
    line = trim(line);
    if (!line.empty() && line[0] != ';' && line[0] != '#') define(line);
  }
}

void Settings::define(const std::string& line) {
  const auto equals = line.find('=');
  if (equals == std::string::npos) throw std::runtime_error("no setting: " + line);
  m_values[trim(line.substr(0, equals))] = trim(line.substr(equals + 1));
}

std::string Settings::get(const std::string& name, const std::string& otherwise) const {
  const auto found = m_values.find(name);
  return found == m_values.end() ? otherwise : found->second;
}

}
