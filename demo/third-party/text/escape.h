#pragma once

#include <string>

namespace text {

// The text of a double-quoted literal: \n, \t, \\ and \" stand for themselves.
// Throws std::invalid_argument for any other escape.
std::string unescape(const std::string& literal);

}
