#pragma once

#include <map>
#include <string>

namespace HPHP {

// Settings by name. A later value replaces an earlier one.
class Settings {
public:
  // Lines of `name = value`; what follows a ; or # at a line's beginning is a comment.
  // Throws std::runtime_error if the file cannot be read.
  void read(const std::string& file);

  // `name=value`. Throws std::runtime_error for anything else.
  void define(const std::string& line);

  std::string get(const std::string& name, const std::string& otherwise) const;

private:
  std::map<std::string, std::string> m_values;
};

}
