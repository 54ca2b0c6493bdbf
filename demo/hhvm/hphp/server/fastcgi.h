#pragma once

#include "hphp/runtime/settings.h"

namespace HPHP {

// Answers FastCGI requests until the process is ended.
// Throws std::runtime_error if the settings are wrong or it cannot listen.
void serve(const Settings& settings);

}
