#pragma once

#include <istream>
#include <ostream>

namespace HPHP {

// Runs a script: `<?hh` or `<?php`, then echo "..."; statements, one a line,
// and // comments. Throws std::invalid_argument for anything else.
void run(std::istream& script, std::ostream& output);

}
